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
    for pc in "$VARVE_CACHE"/libfuse-*/lib/pkgconfig/fuse3.pc; do
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

say() { printf '%s\n' "$*"; }
