#!/bin/sh
# Times phlox on one model: bench/run.sh [MODEL [OPTION...]], MODEL being a directory or built-in.
# Prints the machine, the version, and for each prompt length the median over RUNS (default 5) of
# prefill and decode tok/s (without speculation) and of the seconds to load. Compare only runs made side
# by side.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
program=${PHLOX_PROGRAM:-$here/build/phlox}
model=${1:-built-in}
[ $# -gt 0 ] && shift
runs=${RUNS:-5}
new_tokens=${TOKENS:-32}
lengths=${LENGTHS:-"16 128 400"}

sed -n 's/^model name[^:]*: /cpu: /p' /proc/cpuinfo | sort | uniq -c | sed 's/^ *\([0-9]*\) cpu:/machine: \1 x/'
"$program" version

# The number that follows "key": in the program's JSON.
number() {
    sed -n "s/.*\"$1\": *\\([0-9.eE+-]*\\).*/\\1/p"
}

median() {
    sort -n | awk '{ v[NR] = $1 } END { printf "%.4g", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

printf '%s\n' "model: $model $*"
printf '%8s %14s %14s %10s\n' prompt 'prefill tok/s' 'decode tok/s' 'load s'
for length in $lengths; do
    ids=$(awk -v n="$length" 'BEGIN { for (i = 0; i < n; i++) printf "%s%d", i ? "," : "", 3 + i * 37 % 1000 }')
    results=$(mktemp)
    i=0
    while [ $i -lt "$runs" ]; do
        "$program" run -m "$model" --ids "$ids" --ignore-eos --speculate off --max-new-tokens "$new_tokens" --json "$@" |
            grep -E 'per_second|load_seconds' >>"$results"
        i=$((i + 1))
    done
    printf '%8d %14s %14s %10s\n' "$length" \
        "$(number prefill_tokens_per_second <"$results" | median)" \
        "$(number decode_tokens_per_second <"$results" | median)" \
        "$(number load_seconds <"$results" | median)"
    rm -f "$results"
done
