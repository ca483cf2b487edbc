#!/bin/sh
# The shared library exports phlox_* and nothing else; in the archive every name that could meet a
# user's names begins with phlox_ or px_.
set -eu
cd "$PHLOX_BINARY_DIR"

exports=$(nm -D --defined-only --format=posix libphlox.so | awk '$2 != "A" { print $1 }' |
    sed 's/@.*//')
count=$(echo "$exports" | grep -c '^phlox_' || true)
# Sanitizers and coverage add symbols of their own.
others=$(echo "$exports" | grep -v -E '^(phlox_|__asan_|__tsan_|__ubsan_|__sancov_|__start_|__stop_)' || true)
if [ -n "$others" ]; then
    echo "libphlox.so exports names that are not phlox_*:"
    echo "$others"
    exit 1
fi
if [ "$count" -lt 1 ]; then
    echo "libphlox.so exports nothing"
    exit 1
fi

globals=$(nm --defined-only --extern-only --format=posix libphlox.a 2>/dev/null |
    awk 'NF >= 3 { print $1 }' | grep -v -E '^(phlox_|px_|__)|^(asan|tsan|sancov)\.' || true)
if [ -n "$globals" ]; then
    echo "libphlox.a defines global names that are neither phlox_* nor px_*:"
    echo "$globals"
    exit 1
fi

# Every function of the public headers is there.
declared=$(cat "$PHLOX_SOURCE_DIR"/include/phlox/*.h | awk '
    /^PHLOX_API / { text = ""; on = 1 }
    on { text = text " " $0 }
    on && /;/ { on = 0; if (match(text, /phlox_[a-z0-9_]+\(/)) print substr(text, RSTART, RLENGTH - 1) }')
missing=
for name in $declared; do
    echo "$exports" | grep -q -x "$name" || missing="$missing $name"
done
if [ -n "$missing" ]; then
    echo "declared in include/phlox but not exported:$missing"
    exit 1
fi
echo "$count names exported"
