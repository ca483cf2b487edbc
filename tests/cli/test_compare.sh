#!/bin/sh
# phlox compare: which side an option belongs to, where the tokens come from, what is printed.
. "$(dirname "$0")/lib.sh"
ids=$(npy_ids "$mini/ids.npy")

# between LEAST VALUE MOST
between() { awk -v a="$1" -v x="$2" -v b="$3" 'BEGIN { exit !(a <= x && x <= b) }' || fail "$2 is not from $1 to $3"; }

# ---- sides --------------------------------------------------------------------------------------------

expect 0 compare "$mini" --ids "$ids" --weight-format int8 --json; read_json; is_quiet
has .reference.weights bf16; has .reference.exact true; has .reference.model "$mini"
has .candidate.weights 'int8 asym per channel'; has .candidate.exact false; has .candidate.model "$mini"
has .positions 40; has .predicted 39
between 1e-6 "$(field .kl.mean)" 0.1; between 0.5 "$(field .top1_agreement)" 1
between 0 "$(field .kl.median)" "$(field .kl.p99)"; between 0 "$(field .kl.p99)" "$(field .kl.max)"
between 2 "$(field .reference.perplexity)" 10000
int8=$(field .kl.mean)
expect 0 compare "$mini" --weight-format int4 --group-size 8 --ids "$ids" --json; read_json
has .candidate.weights 'int4 asym g8, embedding and lm_head int8'
between "$int8" "$(field .kl.mean)" 10
# Behind --with are the candidate's, before it the reference's options; running ones hold for both.
expect 0 compare "$mini" --weight-format int8 --sym --with --weight-format int8 --exact --threads 1 \
    --ids "$ids" --json; read_json
has .reference.weights 'int8 sym per channel'; has .reference.exact false
has .candidate.weights 'int8 asym per channel'; has .candidate.exact true
expect 0 compare "$mini" --exact --weight-format f32 --ids "$ids" --with --json; read_json
has .reference.weights f32; has .reference.exact true; has .candidate.weights bf16
between 0 "$(field .kl.max)" 1e-4
expect 0 compare "$mini" --ids "$ids" --context-size 10 --with --cpu-mask avx2 --json; read_json
has .candidate.kernels reference; has .predicted 36
expect 0 compare "$mini" --with --ids "$ids" --context-size 10 --json; read_json; has .predicted 36
# Two models, in both ways to name the second.
expect 0 compare "$family/f32" "$family/f16" --ids "$ids" --json; read_json
has .reference.weights f32; has .candidate.weights f16
expect 0 compare "$family/f32" --with "$family/f16" --ids "$ids" --json; read_json
has .candidate.weights f16; has .candidate.model "$family/f16"
expect 0 compare "$mini" "$mini" --ids "$ids"; prints "reference   $mini: bf16, exact" \
    "candidate   $mini: bf16, " 'KL divergence' median 'same top token' perplexity 'over 39 tokens'

# ---- tokens -------------------------------------------------------------------------------------------

expect 0 compare "$mini" --random 300 --json; read_json; has .positions 300; cp "$out" first
expect 0 compare "$mini" --random 300 --seed 0 --json; same first "$out"
expect 0 compare "$mini" --random 300 --seed 1 --json; cmp -s first "$out" && fail '--seed changes nothing'
echo "$ids" >ids
expect 0 compare "$mini" --ids "$ids" --json; cp "$out" first
expect 0 compare "$mini" --ids @ids --json; same first "$out"
if [ "${PHLOX_HAS_BUILTIN:-1}" = 1 ]; then
    printf '<|user|>What is an NPU?<|end|><|assistant|>An NPU is a processor for neural networks.' >text
    expect 0 compare built-in -f text --json; read_json; has .reference.model built-in; cp "$out" first
    plain=$(field .positions)
    expect 0 compare built-in --json <text; same first "$out"
    expect 0 compare built-in --json --file - <text; same first "$out"
    expect 0 compare built-in -f text --raw --json; read_json
    [ "$(field .positions)" -lt "$plain" ] || fail '--raw reads no control tokens'
    expect 0 compare "$demo" built-in -f text --json; read_json
    between 0 "$(field .kl.max)" 1e-4; has .top1_agreement 1.0
    expect 2 compare built-in "$source_dir/tests/golden/hostile/good-tokenizer" -f text; says vocabulary
    expect 1 compare built-in -f absent; says absent
    expect 2 compare built-in </dev/null; says tokens
fi

# ---- errors -------------------------------------------------------------------------------------------

expect 2 compare "$mini" -f ids; says tokenizer --ids --random
expect 2 compare "$mini" "$family/phi3-medium-4k" --ids 1,2,3; says 128 130
expect 2 compare "$mini" --ids 1; says 'at least 2'
expect 2 compare "$mini" --ids 1,128; says 128
expect 2 compare "$mini" --ids 1,2 --random 5; says --ids --random
expect 2 compare "$mini" --ids 1,2 --raw; says --raw
expect 2 compare "$mini" --ids 1,2 --seed 5; says --seed
for value in 0 1 x '' 99999999999; do expect 2 compare "$mini" --random "$value"; says --random; done
expect 2 compare "$mini" --random 5 --seed x; says --seed
expect 2 compare "$mini" "$mini" --with "$mini" --ids 1,2; says three
expect 2 compare "$mini" --with --with --ids 1,2; says --with twice
expect 2 compare "$mini" --with a b --ids 1,2; says b
expect 2 compare "$mini" --ids 1,2 --sym; says sym weight-format
expect 2 compare --with "$mini" --ids 1,2; says missing
expect 1 compare "$mini" absent --ids 1,2; says absent

finish
