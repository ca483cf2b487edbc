# A part of suite.sh: Phi-3-mini at full size, random weights, int4, on every device: export into the cache, load, the
# same greedy ids as the native engine, and the rates. Needs python3 with numpy to make the checkpoint, unless
# PHLOX_CHECKPOINT names one; 20 GB of disk and 16 GB of memory.

checkpoint=${PHLOX_CHECKPOINT:-}
if [ -z "$checkpoint" ]; then
    checkpoint=$work/phi3
    python3 "$source_dir/bench/random_phi3.py" "$checkpoint" || fail 'no checkpoint of random weights'
fi
ids=$(awk 'BEGIN { for (i = 0; i < 48; i++) printf "%s%d", i ? "," : "", (i * 7919 + 3) % 32000 }')

run_full() { # TOKENS OPTIONS...: the ids that follow
    tokens=$1
    shift
    "$program" run "$checkpoint" --ids "$ids" --greedy --ignore-eos --max-new-tokens "$tokens" --json --exact \
        --weight-format int4 --sym "$@" >"$work/full.json" 2>"$work/err" || { cat "$work/err"; return 1; }
    sed -n 's/^ *"id": \([0-9]*\),*$/\1/p' "$work/full.json" | paste -sd, -
}

native=$(run_full 16 --device cpu) || fail 'full size: the native engine'
echo "cpu: $native"
while read -r name options; do
    # A CPU that plays the NPU takes seconds for a token.
    count=16
    case $name in *NPU) count=3 options="$options --max-prompt-len 128" ;; esac
    started=$(date +%s)
    # shellcheck disable=SC2086
    got=$(run_full $count $options </dev/null) || fail "full size: $name"
    echo "$name: $got, $(($(date +%s) - started)) s with the export"
    [ "$got" = "$(echo "$native" | cut -d, -f1-$count)" ] ||
        fail "full size: $name goes on with other ids than the native engine"
    [ $count = 16 ] || continue
    # shellcheck disable=SC2086
    "$program" bench "$checkpoint" -p 128 -n 16 -r 3 --no-machine --weight-format int4 --sym \
        $options </dev/null || fail "full size: phlox bench on $name"
done <"$work/devices"
"$program" bench "$checkpoint" -p 128 -n 16 -r 3 --no-machine --weight-format int4 --sym --device cpu </dev/null
