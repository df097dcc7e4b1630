#!/bin/sh
# Prints what the Makefile needs to know of this machine: which libfuse.
set -eu
. "$(dirname "$0")/common.sh"

dir=$(libfuse_built)
if [ -n "$dir" ]; then
    fuse() { PKG_CONFIG_PATH=$dir pkg-config --static "$@" fuse3; }
else
    fuse() { pkg-config "$@" fuse3; }
fi
version=$(fuse --modversion) || {
    say "no libfuse3: run 'make deps'" >&2
    exit 1
}
at_least "$version" 3.14 || {
    say "libfuse3 $version is too old: 3.14 is the least; run 'make deps'" >&2
    exit 1
}
at_least "$version" "$LIBFUSE_MIN" || say "libfuse3 $version is the system's; some features need $LIBFUSE_MIN (varve doctor lists them)" >&2
say "FUSE_VERSION_TEXT := $version"
say "FUSE_CFLAGS := $(fuse --cflags | sed 's/-I/-isystem /g')"
say "FUSE_LIBS := $(fuse --libs)"
