# Sourced after lib.sh: a repository in a directory, dir:$dir/r, with the key file $dir/key, and a tree to put into it.
repo_bytes() { find "$1/packs" -type f -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }
packs() { find "$1/packs" -type f 2>/dev/null | wc -l; }

new_repo() { # one of the case's own, with a key file
    mkdir -p "$dir" && random 64 >"$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
}
backup() { ok varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --json "$@"; }
restore() { ok varve restore "dir:$dir/r#$1" --key-file "$dir/key" "${@:2}"; }
verify() { ok varve repo verify "dir:$dir/r" --key-file "$dir/key" "$@"; }

some_tree() {
    mkdir -p "$1/d/e/f" "$1/empty"
    random 300000 >"$1/d/large"
    seq 1 2000 >"$1/d/e/text"
    for i in $(seq 1 60); do echo "small $i" >"$1/d/e/f/$i"; done
    : >"$1/nothing"
    truncate -s 20M "$1/holes"
    printf x | dd of="$1/holes" bs=1 seek=12345678 conv=notrunc status=none
    ln -s d/e/text "$1/link"
    ln "$1/d/large" "$1/hard"
    mkfifo "$1/fifo"
    setfattr -n user.note -v hello "$1/d"
    setfattr -n user.long -v "$(head -c 3000 /dev/zero | tr '\0' y)" "$1/d/large"
    chmod 4751 "$1/d/e/text"
    chown 12:34 "$1/d/e/f/7"
    touch -d '2001-02-03 04:05:06.789' "$1/d/e/f/8"
}
