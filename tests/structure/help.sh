#!/bin/sh
# The commands and options of the program's help are those of the completion and the man page.
set -eu
[ -x "$PHLOX_PROGRAM" ] || { echo "there is no program"; exit 77; }
cd "$PHLOX_SOURCE_DIR"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

commands=$(sed -n "s/^ *local commands='\(.*\)'/\1/p" completions/phlox.bash)
[ -n "$commands" ]

options() { grep -o -E -e '(^|[^a-z0-9-])--[a-z][a-z0-9-]+' | grep -o -e '--.*' | LC_ALL=C sort -u; }

"$PHLOX_PROGRAM" help >"$work/help.txt"
for command in $commands; do
    grep -q -E "(^|[^a-z])$command([^a-z]|\$)" "$work/help.txt" || {
        echo "phlox help does not name the command $command"
        exit 1
    }
    [ "$command" = help ] || "$PHLOX_PROGRAM" help "$command" >>"$work/all.txt"
done
cat "$work/help.txt" >>"$work/all.txt"

options <"$work/all.txt" >"$work/program"
options <completions/phlox.bash >"$work/completion"
sed 's/\\-/-/g' docs/phlox.1 | options >"$work/man"
status=0
for other in completion man; do
    if ! diff "$work/program" "$work/$other" >"$work/diff"; then
        echo "options of the help (<) and of the $other (>) differ:"
        cat "$work/diff"
        status=1
    fi
done

# What the completion offers for each command, as bash computes it, is what its help shows.
if command -v bash >/dev/null; then
    for command in $commands; do
        case $command in help | version) continue ;; esac
        "$PHLOX_PROGRAM" help "$command" | options >"$work/program"
        bash -c '. completions/phlox.bash
            COMP_WORDS=(phlox "$1" --) COMP_CWORD=2
            _phlox
            printf "%s\n" "${COMPREPLY[@]}"' bash "$command" | LC_ALL=C sort -u >"$work/offered"
        if ! diff "$work/program" "$work/offered" >"$work/diff"; then
            echo "phlox $command: options of the help (<) and offered by the completion (>) differ:"
            cat "$work/diff"
            status=1
        fi
    done
fi
exit $status
