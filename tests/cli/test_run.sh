#!/bin/sh
# phlox run: where the prompt comes from, what is written where, and what ends an answer.
. "$(dirname "$0")/lib.sh"
need_built_in
question='Can you introduce yourself?'
short='--max-new-tokens 12' # most checks need no more

# ---- where the prompt and the model come from ---------------------------------------------------

expect 0 run "$question"
[ -s "$out" ] || fail 'the answer is empty'
[ "$(tail -c 1 "$out" | od -An -tu1 | tr -d ' ')" = 10 ] || fail 'the answer ends without a newline'
number='[0-9][0-9.]*'
grep -qE "^cpu [a-z0-9-]+, [0-9]+ threads \| .+ \| context [0-9]+ of 512 \| prefill [0-9]+ tokens, $number tok/s \| decode [0-9]+ tokens, $number tok/s( \| accepted [0-9]+ of [0-9]+ drafted)? \| peak memory $number [kMG]B$" \
    "$err" || fail 'the statistics are not as documented'
[ "$(wc -l <"$err")" = 2 ] || fail 'there is more than a line on the device and one of statistics'
head -1 "$err" | grep -q '^cpu\( (.*)\)\{0,1\}: the native engine' || fail 'the device and its reason do not come first'
cp "$out" whole
expect 0 run $short "$question"; cp "$out" answer

expect 0 run $short -m built-in "$question"; same answer "$out"
expect 0 run $short --model=built-in "$question"; same answer "$out"
expect 0 run $short built-in "$question"; same answer "$out"
expect 0 run $short -m "$demo" "$question"; same answer "$out"
expect 0 run $short "$demo" "$question"; same answer "$out"
expect 0 run $short -q -- "$question"; same answer "$out"; is_quiet
printf %s "$question" >prompt
expect 0 run $short <prompt; same answer "$out"
expect 0 run $short - <prompt; same answer "$out"
expect 0 run $short "$demo" <prompt; same answer "$out"
expect 0 run $short -m "$demo" - <prompt; same answer "$out"
mkfifo slow
(sleep 0.1; printf 'Can you '; sleep 0.1; printf 'introduce yourself?') >slow &
expect 0 run $short <slow; same answer "$out"

# One argument that exists is a model; with -m it is a prompt again.
: >Hello
expect 2 run Hello </dev/null; says empty
expect 1 run Hello <prompt; says Hello
expect 0 run -m built-in Hello
expect 1 run absent-model "$question"; says absent-model
expect 1 run -m absent-model "$question"; says absent-model
expect 2 run -m '' "$question"
expect 2 run ''; says empty
expect 2 run </dev/null; says empty
expect 2 run --raw </dev/null; says empty
expect 0 run -- --help
grep -q Options "$out" && fail '-- does not end the options'

# ---- byte for byte --------------------------------------------------------------------------------

# What tokenize makes of the same bytes, given as ids, is the same prompt. The tokenizer of the model
# puts a beginning-of-sequence token in front of a raw one.
as_ids() {
    phlox tokenize built-in --raw --bos <"$1"
    ids=$(paste -sd' ' "$out")
    phlox detokenize built-in "${ids#* }"
    same "$1" "$out"
    expect 0 run --raw --json --max-new-tokens 4 <"$1"; read_json
    count=$(field .prompt_tokens) text=$(field .text)
    expect 0 run --ids "$ids" --json --max-new-tokens 4; read_json
    [ "$text" = "$(field .text)" ] && [ "$count" = "$(field .prompt_tokens)" ] ||
        fail "$1 does not arrive byte for byte"
}
printf 'one\0two\0' >nul; as_ids nul
printf 'no newline' >plain; as_ids plain
printf 'two\n\n' >lines; as_ids lines
printf '\t\r\n \303\244\342\202\254\360\237\230\200' >odd; as_ids odd
printf 'abc\377def' >invalid
expect 2 run --raw <invalid; says UTF-8 0xff 'offset 3'
expect 2 run <invalid; says UTF-8 0xff 'offset 3'
expect 2 run "$(cat invalid)"; says UTF-8
printf 'cut \342\202' >invalid
expect 2 run --raw <invalid; says UTF-8 'offset 4'

# ---- control tokens -------------------------------------------------------------------------------

prompt_tokens() { expect 0 run --json --max-new-tokens 0 "$@"; read_json; count=$(field .prompt_tokens); }
formatted='<|system|>You are a helpful AI assistant.<|end|><|user|>Can you introduce yourself?<|end|><|assistant|>'
expect 0 run $short --raw "$formatted"; cp "$out" raw
expect 0 run $short --system 'You are a helpful AI assistant.' "$question"; same raw "$out"
prompt_tokens --raw "$formatted"; raw_count=$count
prompt_tokens --system 'You are a helpful AI assistant.' "$question"
[ "$count" = $((raw_count - 1)) ] ||
    fail "--system gives $count tokens, the formatted prompt and its beginning $raw_count"
prompt_tokens "$formatted"
[ "$count" -gt $((raw_count + 10)) ] || fail 'control tokens typed by a user count as such'
prompt_tokens --system '<|end|>' x; typed=$count
prompt_tokens --system x x
[ "$typed" -gt $((count + 2)) ] || fail 'control tokens in a system message count as such'

# ---- JSON -----------------------------------------------------------------------------------------

expect 0 run --json --top-logprobs 3 --max-new-tokens 6 "$question"; read_json; is_quiet
has .stop length; has .generated_tokens 6; has .statistics.device cpu
[ "$(field .statistics.peak_rss_bytes)" -gt 1000000 ] || fail 'the memory is missing'
has .statistics.huge_page_bytes 0
[ "$(grep -c '^\.tokens\[[0-9]\]\.id=' fields)" = 6 ] || fail 'there are not 6 tokens'
[ "$(grep -c '^\.tokens\[[0-9]\]\.top\[[012]\]\.id=' fields)" = 18 ] || fail 'there are not 3 best each'
# Greedy: each token is the best of its step, and logarithms are of probabilities.
awk -F= '/\.logprob=/ && !($2 <= 0 && $2 > -60) { bad = 1 }
    /^\.tokens\[[0-9]\]\.logprob/ { own = $2 }
    /top\[0\]\.logprob/ && $2 != own { bad = 1 }
    END { exit bad }' fields || fail 'the log-probabilities are wrong'
for i in $(sed -n 's/^\.tokens\[[0-9]\]\.id=//p' fields); do printf '%s ' "$i"; done >ids
expect 0 detokenize built-in @ids; printf '\n' >>"$out"
expect_text=$(cat "$out")
expect 0 run --max-new-tokens 6 "$question"; prints_exactly "$expect_text"
expect 0 run --json "$question"; read_json; has .stop eos; has .text "$(sed 's/["\\]/\\&/g' whole)"
expect 0 run --json --max-new-tokens 0 "$question"; read_json; has .text ''; has .generated_tokens 0

# ---- speculation ----------------------------------------------------------------------------------

# The answer is the question's beginning again: drafts are right, and nothing else changes.
twice="<|user|>
$question<|end|>
<|assistant|>
$(cat whole)<|end|>
<|user|>
$question<|end|>
<|assistant|>
"
expect 0 run --raw --speculate off "$twice"; cp "$out" plain
! grep -q drafted "$err" || fail '--speculate off drafts'
for most in 1 3 7 auto; do
    expect 0 run --raw --speculate $most "$twice"; same plain "$out"
done
expect 0 run --raw --speculate 7 "$twice"
grep -qE ' \| accepted [0-9]{2,} of [0-9]{2,} drafted( |$)' "$err" || fail 'nothing is accepted'
expect 0 run --raw --json --speculate 7 "$twice"; read_json
[ "$(field .statistics.accepted_tokens)" -gt $((3 * $(field .statistics.speculated_steps))) ] ||
    fail 'steps that speculate give few tokens'
[ "$(field .statistics.drafted_tokens)" -ge "$(field .statistics.accepted_tokens)" ] ||
    fail 'more is accepted than drafted'
expect 2 run --speculate 8 "$question"; says 'auto|off|N, N from 0 to 7, is meant'

# ---- what ends an answer ----------------------------------------------------------------------------

text=$(cat answer)
stop=$(printf %s "$text" | cut -c3-30) # far longer than a token
expect 0 run --stop "$stop" "$question"; prints_exactly "$(printf %s "$text" | cut -c1-2)"
expect 0 run --stop never-said --stop "$stop" "$question"; prints_exactly "$(printf %s "$text" | cut -c1-2)"
expect 0 run $short --stop never-said "$question"; same answer "$out"
expect 0 run --stop "$stop" --json "$question"; read_json; has .stop stop
expect 2 run --stop '' "$question"; says 'stop string'

expect 1 run --context-size 30 --ignore-eos "$question"
says 30 --context-size --context-shift; [ -s "$out" ] || fail 'the text so far is lost'
expect 1 run --context-size 30 --ignore-eos --json "$question"; read_json; has .stop context
expect 0 run --context-size 30 --ignore-eos --context-shift --max-new-tokens 60 "$question"
says dropped 'context shifts'
expect 0 run -q --context-size 30 --ignore-eos --context-shift --context-keep 4 --max-new-tokens 40 "$question"
says dropped
expect 0 run --json --context-size 30 --ignore-eos --context-shift --max-new-tokens 40 "$question"
read_json; says dropped; has .generated_tokens 40
expect 1 run --context-size 5 "$question"; says 5 --context-size
expect 2 run --context-size 100000 "$question"; says 100000 512
yes 'What is an NPU?' | head -n 400 >long
expect 1 run <long; says 512

# ---- sampling -----------------------------------------------------------------------------------------

sampled() { expect 0 run -q --temperature 3 --max-new-tokens 20 "$@" "$question"; cp "$out" "sampled$1$2"; }
sampled --seed 1; cp 'sampled--seed1' first
sampled --seed 1; same first 'sampled--seed1'
for seed in 2 3 4; do sampled --seed $seed; done
cmp -s first 'sampled--seed2' && cmp -s first 'sampled--seed3' && cmp -s first 'sampled--seed4' &&
    fail 'the seed does not matter'
expect 0 run $short --temperature 0 "$question"; same answer "$out"
expect 0 run $short --sample --top-k 1 "$question"; same answer "$out"
expect 0 run --sample --seed 5 --max-new-tokens 9 "$question"
expect 0 run --top-p 0.5 --min-p 0.1 --repetition-penalty 1.1 --presence-penalty 0.1 \
    --frequency-penalty 0.1 --max-new-tokens 9 "$question"
expect 0 run --repetition-penalty 50 --max-new-tokens 40 "$question"
cmp -s answer "$out" && fail 'a large repetition penalty changes nothing'

# ---- threads and kernels ------------------------------------------------------------------------------

for threads in 1 2 3 4; do
    expect 0 run $short --threads $threads "$question"; same answer "$out"; says ", $threads threads"
done
expect 0 run $short --cpu-mask avx2 "$question"; same answer "$out"; says 'cpu reference'

# ---- ids, without a tokenizer -------------------------------------------------------------------------

expect 0 run -m "$mini" --ids 1,2,3 --max-new-tokens 5 --ignore-eos
[ "$(wc -w <"$out")" = 5 ] || fail 'there are not 5 ids'
tr -d '0-9 \n' <"$out" | grep -q . && fail 'something is no number'
cp "$out" five
expect 0 run "$mini" --ids ' 1 2, 3' --max-new-tokens 5 --ignore-eos; same five "$out"
printf '1\n2\n3\n' >ids
expect 0 run "$mini" --ids @ids --max-new-tokens 5 --ignore-eos; same five "$out"
expect 0 run "$mini" --ids @- --max-new-tokens 5 --ignore-eos <ids; same five "$out"
expect 0 run "$mini" --ids 1,2,3 --max-new-tokens 5 --ignore-eos --json; read_json
has .generated_tokens 5; has .text ''
expect 1 run "$mini" 'a prompt'; says tokenizer
expect 1 run "$mini" --raw 'a prompt'; says tokenizer
expect 2 run "$mini" --ids 1 --stop x; says tokenizer
for ids in 128 -1 1,2,x 2147483648 99999999999999999999999 1.5 '' ' ' @absent @. ; do
    phlox run "$mini" --ids "$ids"
    { [ "$code" = 2 ] || { [ "$code" = 1 ] && [ "${ids#@}" != "$ids" ]; }; } || fail "ids \"$ids\" are taken"
    [ -s "$err" ] || fail 'there is no message'
done
expect 2 run "$mini" --ids 1,128; says 128 'place 1'
expect 2 run -m "$mini" --ids 1 prompt; says --ids
expect 2 run --ids 1 --raw; says --ids --raw
expect 2 run --ids 1 --system x; says --ids --system
expect 2 run --raw --system x y; says --raw --system

# ---- plain text on a pipe, and standard output that takes nothing -----------------------------------------

TERM=xterm expect 0 run "$question"
cat "$out" "$err" | grep -q "$(printf '\033')" && fail 'there are escape sequences on a pipe'
if [ -c /dev/full ]; then
    for arguments in "run hello" "run --json hello" 'info built-in' 'tokenize built-in hello' \
        'detokenize built-in 5,6,7' 'version' 'help' 'help run'; do
        last="phlox $arguments >/dev/full"
        # shellcheck disable=SC2086 # words are meant
        timeout 100 "$program" $arguments >/dev/full 2>"$err"
        code=$?
        [ "$code" = 1 ] || fail 'exit code 1 is meant'
        says 'standard output'
    done
fi
last='phlox run | head -c 1'
timeout 100 "$program" run "$question" 2>"$err" | head -c 1 >"$out"
[ "$(wc -c <"$out")" = 1 ] || fail 'a reader that leaves is a problem'

finish
