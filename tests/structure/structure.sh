#!/bin/sh
# The arrows between the rooms of src/ and the look of every file; then proof that each rule can
# fail, with planted defects.
set -eu
here=$PHLOX_SOURCE_DIR/tests/structure

# check ROOT: prints what is wrong, returns 1 when there is anything.
check() (
    cd "$1"
    broken=0
    set -- include examples cmake bench tools tests models docs src
    for directory; do
        shift
        [ ! -d "$directory" ] || set -- "$@" "$directory"
    done
    find "$@" -type f \( -name '*.[chS]' -o -name '*.sh' -o -name '*.py' -o -name '*.awk' \
        -o -name '*.cmake' -o -name '*.md' -o -name 'CMakeLists.txt' -o -name '*.in' \) |
        LC_ALL=C sort >"$list"
    LC_ALL=C xargs awk -f "$here/check.awk" <"$list" || broken=1
    while read -r file; do
        if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
            echo "$file: no newline at the end"
            broken=1
        fi
    done <"$list"
    return $broken
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
list=$work/list

check "$PHLOX_SOURCE_DIR" || exit 1
echo "$(wc -l <"$list") files follow the rules"

# A tree that holds one file with one defect at a time.
copy=$work/copy
mkdir "$copy"

# must_fail FILE CONTENT MESSAGE
must_fail() {
    mkdir -p "$(dirname "$copy/$1")"
    printf "$2" >"$copy/$1"
    if check "$copy" >"$work/output"; then
        echo "not noticed: $1: $3"
        exit 1
    fi
    if ! grep -q "^$1:.*$3" "$work/output" || [ "$(wc -l <"$work/output")" != 1 ]; then
        echo "expected one complaint, '$1: ... $3', but got:"
        cat "$work/output"
        exit 1
    fi
    rm "$copy/$1"
}

must_fail src/base/planted.c '#include "engine/engine.h"\n' 'base stands left of engine'
must_fail src/text/planted.h '  #  include "checkpoint/checkpoint.h"\n' 'text stands left'
must_fail src/cli/planted.c '#include "base/error.h"\n' 'cli includes public headers only'
must_fail src/server/planted.c '#include "api/model.h"\n' 'server includes public headers only'
must_fail src/api/planted.c '#include "elsewhere/x.h"\n' 'is in no room'
must_fail src/api/planted.c '#include "phlox/phlox.h"\n' 'write <phlox/phlox.h>'
must_fail src/device/planted.c '#include "device/cpu.h"\n' 'do not include each other'
must_fail src/checkpoint/gguf.c '#include "checkpoint/huggingface.h"\n' 'only to themselves'
must_fail src/attic/planted.c 'int x;\n' 'is not a room'
must_fail src/base/planted.c 'int\tx;\n' 'a tab'
must_fail src/base/planted.c 'int x; \n' 'blanks at the end'
must_fail src/base/planted.c 'int x;\r\n' 'blanks at the end'
must_fail src/base/planted.c 'int x;' 'no newline'
must_fail src/base/planted.c "$(awk 'BEGIN { while (n++ < 801) printf "\\n" }')" 'longer than 800'
printf '#include "device/device.h"\n#include "base/error.h"\n#include <phlox/phlox.h>\n' \
    >"$copy/src/device/planted.c"
check "$copy"
echo "every rule can fail"
