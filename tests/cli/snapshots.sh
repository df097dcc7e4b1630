# Snapshots, diff and rollback, on a volume that is mounted and on one that is not.

# on_both FUNCTION: calls it with a TARGET that is not mounted, then with one that is
on_both() {
    ok varve create "$case_dir/s"
    "$1" "$case_dir/s"
    ok varve mount "$case_dir/s/two" "$case_dir/m" --create
    "$1" "$case_dir/m"
    ok umount "$case_dir/m"
    ok varve check "$case_dir/s"
}

life_of_a_snapshot() {
    local t=$1
    ok varve snapshot create "$t" one --label why=test --hold me --expire 2099-01-01 --sync
    has 'snapshot one taken'
    ok varve snapshot create "$t" --json
    same "$(json 'd["snapshot"]["name"][10]')" T
    ok varve snapshot list "$t" --json
    same "$(json 'd["snapshots"][0]["name"]')" one
    same "$(json 'd["snapshots"][0]["holds"]')" "['me']"
    same "$(json 'd["snapshots"][0]["labels"]')" "{'why': 'test'}"
    same "$(json 'd["snapshots"][0]["expires"]')" 2099-01-01T00:00:00Z
    same "$(json 'd["snapshots"][0]["state"]')" durable
    refused 1 'snapshot one: exists already' varve snapshot create "$t" one
    refused 1 'snapshot is held; varve snapshot show names the holds' varve snapshot delete "$t" one
    ok varve snapshot hold "$t" one again
    ok varve snapshot release "$t" one me
    refused 1 'is not held by "me"' varve snapshot release "$t" one me
    ok varve snapshot release "$t" one again
    ok varve snapshot rename "$t" one uno
    ok varve snapshot label "$t" uno a=1 b=2 --remove why
    ok varve snapshot expire "$t" uno never
    ok varve snapshot show "$t" uno --json
    same "$(json 'd["snapshot"]["labels"]')" "{'a': '1', 'b': '2'}"
    same "$(json 'd["snapshot"]["expires"]')" null
    json 'd["snapshot"]["unique_bytes"] + d["snapshot"]["freed_bytes"]' >/dev/null
    ok varve snapshot show "$t" uno
    has 'a=1 b=2'
    refused 1 'snapshot one: does not exist; varve snapshot list' varve snapshot show "$t" one
    ok varve snapshot delete "$t" @latest
    ok varve snapshot delete "$t" uno
    ok varve snapshot list "$t"
    lacks uno
}

test_life_of_a_snapshot() { on_both life_of_a_snapshot; }

# not mounted, and with one of them mounted: nothing is taken where one cannot be
test_a_group_is_all_or_none() {
    local s=$case_dir/s round
    ok varve create "$s/a"
    ok varve create "$s/b"
    for round in 1 2; do
        ok varve snapshot group "$s" "g$round" a b --label why=both --sync --json
        same "$(json '[x["volume"] for x in d["snapshots"]]')" "['a', 'b']"
        same "$(json 'len({x["group"] for x in d["snapshots"]})')" 1
        same "$(json '[x["labels"] for x in d["snapshots"]]')" "[{'why': 'both'}, {'why': 'both'}]"
        same "$(json '{x["state"] for x in d["snapshots"]}')" "{'durable'}"
        ok varve snapshot create "$s/b" "taken$round"
        refused 1 'exists already' varve snapshot group "$s" "taken$round" a b
        ok varve snapshot list "$s/a" --json
        same "$(json 'len(d["snapshots"])')" "$round"
        refused 1 'volume none: does not exist' varve snapshot group "$s" x a none
        refused 2 'is named twice' varve snapshot group "$s" x a a
        refused 2 'VOLUME is missing' varve snapshot group "$s" x
        [ $round = 2 ] || ok varve mount "$s/a" "$case_dir/m"
    done
    ok umount "$case_dir/m"
    ok varve check "$s"
}

bad_names() {
    local t=$1 long
    long=$(printf 'n%.0s' {1..256})
    refused 1 'is not allowed' varve snapshot create "$t" a/b
    refused 1 'the name is empty' varve snapshot create "$t" ''
    refused 1 'longer than 255 bytes' varve snapshot create "$t" "$long"
    refused 1 'is not allowed' varve snapshot create "$t" .x
    refused 1 'is not allowed' varve snapshot create "$t" @x
    refused 1 'is not allowed' varve snapshot create "$t" x.json
    refused 1 'is not allowed' varve snapshot create "$t" ..
    refused 2 'write KEY=VALUE' varve snapshot create "$t" x --label nothing
    refused 2 'write 7d, 12h' varve snapshot create "$t" x --expire soon
    refused 2 'did you mean --label?' varve snapshot create "$t" x --lable a=b
    ok varve snapshot create "$t" "${long%n}"
    ok varve snapshot create "$t" $'odd \xff name'
    ok varve snapshot list "$t" --json
    same "$(json 'd["snapshots"][1]["name_hex"]')" 6f646420ff206e616d65
    ok varve snapshot delete "$t" $'odd \xff name'
}

test_bad_names() { on_both bad_names; }

test_diff_of_real_files() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    head -c 100000 /dev/urandom >"$m/data"
    mkdir "$m/dir"
    echo x >"$m/dir/old"
    echo x >"$m/gone"
    ok varve snapshot create "$m" a
    printf changed | dd of="$m/data" bs=1 seek=40960 conv=notrunc status=none
    echo y >"$m/two words"
    mv "$m/dir/old" "$m/dir/new"
    rm "$m/gone"
    chmod 700 "$m/dir"
    ok varve diff "$m" a
    has 'M data 40960+4096'
    has '+ two\040words 0+2'
    has 'R dir/old -> dir/new'
    has '- gone'
    ok varve diff "$m" a --json
    same "$(json '[e["ranges"] for e in d["entries"] if e["path"] == "data"]')" "[[{'offset': 40960, 'length': 4096}]]"
    same "$(json '[e["old_path"] for e in d["entries"] if e["kind"] == "R"]')" "['dir/old']"
    ok varve snapshot create "$m" b
    ok varve diff "$m" b
    same "$out" ''
    same "$(cat "$m/.snapshots/.control/changes/a..b" | sort)" "$(varve diff "$m" a b | sort)"
    refused 1 'snapshot no: does not exist' varve diff "$m" a no
    ok umount "$m"
    ok varve diff "$case_dir/s" a b
    has 'R dir/old -> dir/new'
}

test_rollback_is_undoable_and_names_who_holds_files() {
    local m=$case_dir/m kept
    ok varve mount "$case_dir/s" "$m" --create
    echo old >"$m/f"
    ok varve snapshot create "$m" a
    echo new >"$m/f"
    sleep 60 <"$m/f" &
    local holder=$!
    sleep 0.2
    ok varve rollback "$m" a --json
    kept=$(json 'd["kept"]')
    case $err in *"pid $holder sleep: $m/f"*) ;; *) fail "does not name $holder: $err" ;; esac
    kill $holder
    wait $holder 2>/dev/null
    same "$(cat "$m/f")" old
    ok varve rollback "$m" "$kept"
    same "$(cat "$m/f")" new
    refused 1 'snapshot no: does not exist' varve rollback "$m" no
    ok umount "$m"
}

test_mapped_stores_are_in_a_snapshot_from_the_command_line() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    head -c 8192 /dev/zero >"$m/f"
    python3 - "$m/f" "$scratch/mapped" <<'PY' &
import mmap, os, sys, time
f = os.open(sys.argv[1], os.O_RDWR)
p = mmap.mmap(f, 8192)
p[4096:4103] = b"by mmap"
open(sys.argv[2], "w").close()
time.sleep(60)
PY
    local mapper=$!
    while [ ! -e "$scratch/mapped" ]; do sleep 0.05; done
    ok varve snapshot create "$m" a
    same "$(dd if="$m/.snapshots/a/f" bs=1 skip=4096 count=7 status=none)" 'by mmap'
    kill $mapper
    wait $mapper 2>/dev/null
    ok umount "$m"
}

test_a_list_of_differences_has_no_bound() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    ok varve snapshot create "$m" a
    python3 - "$m" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for d in range(14):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
for f in range(5000):
    open(str(f), "w").close()
PY
    varve diff "$m" a --json >"$scratch/diff" || fail diff
    python3 - "$scratch/diff" <<'PY' || fail 'see above'
import json, os, sys
d = json.load(open(sys.argv[1]))
assert d["count"] == len(d["entries"]) >= 5014, d["count"]
assert os.path.getsize(sys.argv[1]) > 16 << 20, os.path.getsize(sys.argv[1])
PY
    rm "$scratch/diff"
    ok umount "$m"
}
