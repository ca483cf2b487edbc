#!/bin/sh
# Installs into a temporary directory, builds examples/hello.c against it, with the shared and with
# the static library, and runs it on the built-in model.
set -eu
[ "$PHLOX_HAS_BUILTIN" = 1 ] || { echo "there is no built-in model"; exit 77; }
[ -z "$PHLOX_SANITIZE" ] || { echo "a plain program can not use sanitized libraries"; exit 77; }
[ -x "$PHLOX_PROGRAM" ] || { echo "there is no program"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"

DESTDIR=$work/root cmake --install "$PHLOX_BINARY_DIR" >"$work/log" || { cat "$work/log"; exit 1; }
pc=$(find "$work/root" -name phlox.pc)
[ -n "$pc" ] || { echo "phlox.pc is not installed"; exit 1; }
prefix=$(pkg-config --variable=prefix "$pc")
installed=$work/root$prefix
libraries=$work/root$(pkg-config --variable=libdir "$pc")
for file in bin/phlox include/phlox/phlox.h include/phlox/tools.h include/phlox/devices.h share/man/man1/phlox.1 \
    share/bash-completion/completions/phlox; do
    [ -s "$installed/$file" ] || { echo "$prefix/$file is not installed"; exit 1; }
done

# The dependencies' .pc files are the system's, only ours is in the new tree: no sysroot, but our
# prefix.
phlox() { pkg-config --define-variable=prefix="$installed" "$@" "$pc"; }
hello=$PHLOX_SOURCE_DIR/examples/hello.c
warnings='-std=c17 -Wall -Wextra -Wpedantic -Werror'
# shellcheck disable=SC2046,SC2086
{
    $CC $warnings $(phlox --cflags) "$hello" -o "$work/hello" $(phlox --libs)
    $CC $warnings $(phlox --cflags) "$hello" -o "$work/hello-static" "$libraries/libphlox.a" \
        $(phlox --static --libs | sed 's/-lphlox//')
}

LD_LIBRARY_PATH=$libraries "$work/hello" >"$work/shared.txt"
"$work/hello-static" >"$work/static.txt"
cmp "$work/shared.txt" "$work/static.txt"
grep -q phlox "$work/shared.txt" || { echo "the model does not name phlox:"; cat "$work/shared.txt"; exit 1; }

"$installed/bin/phlox" run 'What is an NPU?' >"$work/program.txt" 2>/dev/null
[ -s "$work/program.txt" ] || { echo "the installed program said nothing"; exit 1; }
cat "$work/shared.txt"
