# Shared by the tools: sourced, never run.
# VARVE_CACHE keeps what is costly and belongs to no one build: libfuse, test crates, Debian trees.
if [ -z "${VARVE_CACHE:-}" ]; then
    if [ "$(id -u)" = 0 ]; then
        VARVE_CACHE=/var/cache/varve
    else
        VARVE_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/varve
    fi
fi
export VARVE_CACHE
export LC_ALL=C.UTF-8

# at_least VERSION MIN
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

LIBFUSE_MIN=3.18.3

# libfuse_built: the pkg-config directory of the newest libfuse in the cache, or nothing
libfuse_built() {
    for pc in "$VARVE_CACHE"/libfuse-*-io/lib/pkgconfig/fuse3.pc /var/cache/varve/libfuse-*-io/lib/pkgconfig/fuse3.pc; do
        [ -f "$pc" ] || continue
        dir=$(dirname "$pc")
        at_least "$(PKG_CONFIG_PATH=$dir pkg-config --modversion fuse3)" $LIBFUSE_MIN && echo "$dir"
    done | sort -V | tail -n 1
}

# debian_mirror: the address from which this machine's apt takes Debian itself
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(SITE)' 'Identifier: Packages' 2>/dev/null \
        | sed -n 's/^Debian|Debian|//p' | head -n 1
}

# apt_own TOOL ARGS...: an apt tool with lists, sources and cache of our own in $apt; the system's are never touched
apt_own() {
    tool=$1
    shift
    "$tool" -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$apt/lists" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# debian_source PACKAGE SUITE [MIN]: fetches the newest source of PACKAGE in SUITE, vouched for by Debian's archive key, into
# $apt/cache; sets $version. Says why and returns 1 where that cannot be.
debian_source() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    apt=$VARVE_CACHE/apt-$1
    command -v apt-get >/dev/null || { say "no apt-get on this system"; return 1; }
    [ -f $keyring ] || { say "no debian-archive-keyring on this system"; return 1; }
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || { say "apt knows no Debian mirror"; return 1; }
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb-src [signed-by=$keyring] $mirror $2 main" >"$apt/sources.list"
    apt_own apt-get update >"$apt/log" 2>&1 || { say "Debian's source index cannot be had (see $apt/log)"; return 1; }
    if grep -q '^[WE]:.*\(NO_PUBKEY\|not signed\|GPG error\)' "$apt/log"; then
        say "Debian's source index is not vouched for by a known key"
        return 1
    fi
    version=$(apt_own apt-cache showsrc --only-source "$1" | sed -n 's/^Version: //p' | sort -V | tail -n 1)
    at_least "${version%%-*}" "${3:-0}" || { say "Debian's newest source of $1 is ${version:-none}"; return 1; }
    (cd "$apt/cache" && apt_own apt-get source --download-only "$1=$version") >>"$apt/log" 2>&1 || {
        say "the source of $1 $version cannot be had (see $apt/log)"
        return 1
    }
}

say() { printf '%s\n' "$*"; }

# take_in LOG: adds what a part of a suite closed with to $passed, $failed, $skipped; without a closing line it is one failure.
# $f is the part's failures.
take_in() {
    read -r p _ f _ s _ <<EOF
$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1 | grep . || echo '0 passed, 1 failed, 0 skipped')
EOF
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# run_part COMMAND...: runs a part of a suite, shows what it says, and takes it in.
run_part() {
    part_log=$(mktemp)
    "$@" >"$part_log" 2>&1
    rc=$?
    cat "$part_log"
    take_in "$part_log"
    rm -f "$part_log"
    [ $rc -eq 0 ] || [ "$f" -gt 0 ] || failed=$((failed + 1))
}
