#!/bin/sh
# The options of the weights: what runs, what is reported, what excludes each other.
. "$(dirname "$0")/lib.sh"
ids=$(npy_ids "$mini/ids.npy")

# weights SUMMARY DIRECTORY OPTIONS: runs, and the statistics and info name the weights so.
weights() {
    summary=$1 directory=$2
    shift 2
    expect 0 run "$directory" --ids 1,2,3 --max-new-tokens 2 "$@"; says ", $summary |"
    expect 0 info "$directory" --json "$@"; read_json; has .weights "$summary"
    bytes=$(field .weight_bytes)
}
weights bf16 "$mini"; stored=$bytes
weights bf16 "$mini" --weight-format default
weights bf16 "$mini" --weight-format stored
weights bf16 "$mini" --weight-format bf16
weights f32 "$mini" --weight-format f32; [ "$bytes" -gt $((stored * 19 / 10)) ] || fail 'f32 is small'
weights f32 "$mini" --weight-format fp32
weights f16 "$mini" --weight-format f16
weights f16 "$mini" --weight-format fp16
weights f16 "$family/f16"
weights f32 "$family/f32"
weights 'int8 asym per channel' "$mini" --weight-format int8
[ "$bytes" -lt $((stored * 7 / 10)) ] || fail 'int8 is large'
weights 'int8 asym per channel' "$mini" --weight-format int8 --asym
weights 'int8 sym per channel' "$mini" --weight-format int8 --sym
weights 'int8 sym per channel' "$mini" --weight-format int8 --sym --group-size -1

# Rows of 64 and 56 columns: groups of 8 divide them, of 128 and 32 do not.
weights 'int4 asym g8, embedding and lm_head int8' "$mini" --weight-format int4 --group-size 8
weights 'int4 sym g8, embedding and lm_head int8' "$mini" --weight-format int4 --group-size 8 --sym
weights 'int4 sym per channel, embedding and lm_head int8' "$mini" --weight-format int4 --group-size -1 --sym
weights 'int4 sym per channel' "$mini" --weight-format int4 --group-size -1 --sym --all-layers
weights 'int4 asym g8, embedding and lm_head int8 sym' "$mini" --weight-format int4 --group-size 8 \
    --backup-precision int8_sym
weights 'int4 asym g8, embedding and lm_head as stored' "$mini" --weight-format int4 --group-size 8 \
    --backup-precision none
weights 'int4 sym g8 search, embedding and lm_head int8' "$mini" --weight-format int4 --group-size 8 \
    --sym --quant-method search
weights 'int4 asym per channel search' "$mini" --weight-format int4 --group-size -1 --all-layers \
    --quant-method search
weights 'int4 asym g8, embedding and lm_head int8' "$mini" --weight-format int4 --group-size 8 \
    --quant-method nncf
weights 'int8 asym per channel' "$mini" --weight-format int8 --quant-method nncf
weights 'int4 sym g8 for 0.5 of the weights, rest int8' "$mini" --weight-format int4 --group-size 8 \
    --sym --ratio 0.5 --backup-precision int8_asym
expect 2 run "$mini" --ids 1 --weight-format int4; says 128 group-size
expect 2 run "$mini" --ids 1 --weight-format int4 --group-size 48; says 48 group-size
expect 2 run "$mini" --ids 1 --weight-format int4 --group-size 48 --group-size-fallback error; says 48
for fallback in ignore adjust; do
    expect 0 run "$mini" --ids 1 --max-new-tokens 1 --weight-format int4 --group-size 32 \
        --group-size-fallback $fallback
done

# What is packed is used: more bits are closer to the stored weights.
distance() {
    expect 0 logits "$mini" --ids "$ids" --all --exact -o now.npy "$@"
    values now.npy >now
    far=$(paste stored now | awk '{ d = $1 - $2; sum += d * d } END { printf "%d", sum * 1000 }')
}
phlox logits "$mini" --ids "$ids" --all --exact -o stored.npy; values stored.npy >stored
distance --weight-format f32; [ "$far" = 0 ] || fail 'f32 is not what is stored'
distance --weight-format int8; int8=$far
distance --weight-format int4 --group-size 8; int4=$far
distance --weight-format int4 --group-size -1 --all-layers; coarse=$far
distance --weight-format int4 --group-size 8 --quant-method search; search=$far
[ "$search" -lt "$int4" ] || fail "int4 by search is $search away, NNCF's $int4"
{ [ 0 -lt "$int8" ] && [ "$int8" -lt "$int4" ] && [ "$int4" -lt "$coarse" ]; } ||
    fail "int8 is $int8, int4 of groups $int4 and of rows $coarse away"
# Each file of the cache, read back, gives what packing into memory gives.
for options in '--weight-format int8' '--weight-format int4 --group-size 8 --sym --ratio 0.6' \
    '--weight-format int4 --group-size 8 --all-layers' \
    '--weight-format int4 --group-size 8 --all-layers --quant-method search'; do
    # shellcheck disable=SC2086 # words are meant
    for i in 1 2; do
        expect 0 logits "$mini" --ids "$ids" --all $options -o cached.npy
        expect 0 logits "$mini" --ids "$ids" --all $options --no-cache --threads $i -o memory.npy
        same cached.npy memory.npy
    done
done
for name in phi3-medium-4k phi4-mini sharded; do
    for options in 'int8' 'int4 --group-size -1' 'int4 --group-size-fallback ignore'; do
        # shellcheck disable=SC2086
        expect 0 run "$family/$name" --ids 1,2,3 --max-new-tokens 2 --weight-format $options
    done
done

# ---- pairs without a meaning --------------------------------------------------------------------------

while read -r first second rest; do
    # shellcheck disable=SC2086
    expect 2 run "$mini" --ids 1 $rest
    says "$first" "$second"
    # shellcheck disable=SC2086
    expect 2 info "$mini" $rest
    says "$first" "$second"
done <<'END'
group-size int8 --weight-format int8 --group-size 64
ratio int8 --weight-format int8 --ratio 0.5
backup-precision int8 --weight-format int8 --backup-precision none
all-layers int8 --weight-format int8 --all-layers
group-size-fallback int8 --weight-format int8 --group-size-fallback adjust
quant-method int8 --weight-format int8 --quant-method search
quant-method f16 --weight-format f16 --quant-method nncf
quant-method weight-format --quant-method search
group-size f32 --weight-format f32 --group-size 64
group-size bf16 --weight-format bf16 --group-size -1
ratio f16 --weight-format f16 --ratio 0.5
sym f32 --weight-format f32 --sym
asym f16 --weight-format f16 --asym
all-layers stored --weight-format stored --all-layers
backup-precision f32 --weight-format f32 --backup-precision int8_sym
sym weight-format --sym
group-size weight-format --group-size 64
ratio weight-format --ratio 0.5
END

finish
