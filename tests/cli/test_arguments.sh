#!/bin/sh
# Wrong commands, options and values; help and version.
. "$(dirname "$0")/lib.sh"

# ---- help -------------------------------------------------------------------------------------------

expect 0 help; cp "$out" overview; is_quiet
prints run info tokenize detokenize logits perplexity compare bench cache runtime version
expect 0; same overview "$out"
expect 0 --help; same overview "$out"
expect 0 -h; same overview "$out"
for command in run info tokenize detokenize logits perplexity compare bench cache runtime version; do
    expect 0 help $command; prints "phlox $command" --help; is_quiet; cp "$out" own
    [ "$(wc -l <own)" -ge 5 ] || fail "the help of $command is short"
    expect 0 $command --help; same own "$out"
    expect 0 $command -h; same own "$out"
done
for command in run info logits perplexity compare bench; do
    expect 0 help $command
    prints --weight-format --group-size --sym --asym --ratio --backup-precision --all-layers \
        --group-size-fallback --quant-method --threads --cpu-mask --context-size --no-cache --cache-dir --cache-limit
done
expect 0 help run; prints --temperature --seed --stop --json phi3 phi4-mini
expect 0 version; prints 'phlox 0.' 'CPU features'; cp "$out" version
expect 0 --version; same version "$out"

# Every option of the help is in the manual, and every command.
manual=$source_dir/docs/phlox.1
sed 's/\\-/-/g; s/\\f.//g' "$manual" >manual
for command in run info tokenize detokenize logits perplexity compare bench cache runtime; do
    expect 0 help $command
    for option in $(grep -oE -e '--[a-z][a-z-]*' "$out" | sort -u); do
        grep -qF -e "$option" manual || fail "the manual lacks $option"
    done
done

# ---- wrong use ----------------------------------------------------------------------------------------

# wrong WORDS ARGUMENTS: exit code 2, one line on standard error that has the words.
wrong() {
    words=$1
    shift
    expect 2 "$@" </dev/null
    [ -s "$out" ] && fail 'something is on standard output'
    # Debug builds add a line with the way up.
    [ "$(grep -vc '^  (' "$err")" = 1 ] || fail 'the message is not one line'
    for word in $words; do says "$word"; done
}
wrong frobnicate frobnicate
wrong 'frobnicate help' help frobnicate
wrong extra help run extra
wrong "''" "''"
wrong --bogus run --bogus x
wrong --bogus --bogus
wrong --runx run --runx=1 x
wrong -x run -x hello
wrong -qx run -qx hello
wrong one run a b one
wrong one run -m built-in a one
wrong --model run -m
wrong --system run --system
wrong '--json value' run --json=yes x
wrong --sym run --sym=1 x
wrong '--sym --asym' run --sym --asym x
wrong '--sample --greedy' run --greedy --sample x
wrong '--no-cache --cache-dir' run --no-cache --cache-dir d x
wrong '--chat-format --raw' run --chat-format phi3 --raw x
wrong -- run '-5 + 3?'
wrong 'model -m' run phi3/no-such-model
wrong --seed run --seed 0x10 x
wrong --temperature run --temperature 0,7 x
wrong --temperature run --temperature
for command in info tokenize detokenize logits perplexity compare bench cache runtime; do
    wrong $command $command
    wrong --bogus $command --bogus built-in
done
wrong extra info built-in extra
wrong extra version extra
wrong --json version --json
wrong '--ids -o' logits built-in
wrong '--ids -o' logits built-in --ids 1
wrong '--ids -o' logits built-in -o x.npy
wrong 'ls verify rm' cache list
wrong 'NAME --all' cache rm
wrong 'NAME --all' cache rm x --all
wrong ls cache ls x
wrong verify cache verify --all
wrong 'list add rm' runtime ls
wrong 'NAME' runtime add
wrong 'NAME' runtime rm
wrong --json runtime rm openvino --json
wrong '--version --index-url --offline' runtime list --offline

# Values: option, then what it does not take. The message names both.
while read -r option values; do
    for value in $values; do
        [ "$value" = EMPTY ] && value=
        wrong "$option $value" run "$option" "$value" hello
        wrong "$option $value" run "$option=$value" hello
    done
done <<'END'
--weight-format EMPTY int5 F32 q4
--group-size EMPTY 0 -2 abc 1.5 1e300 nan
--ratio EMPTY 0 -0.5 1.01 nan inf x
--backup-precision EMPTY int4 None
--group-size-fallback EMPTY never
--quant-method EMPTY gptq Search
--threads EMPTY 0 -1 2.5 100000 many
--cpu-mask EMPTY avx9 avx2,sse -1
--context-size EMPTY 0 -1 1.5 99999999999 x
--cache-limit EMPTY 0 -1 1X 1GG 99999999999999999999 20000000T
--max-new-tokens EMPTY -2 1.5 x 99999999999
--temperature EMPTY -1 nan x
--top-k EMPTY -1 0.5 x
--top-p EMPTY -0.1 1.1 nan
--min-p EMPTY -0.1 1.1
--repetition-penalty EMPTY 0 -1 nan
--presence-penalty EMPTY x nan
--frequency-penalty EMPTY x
--seed EMPTY -1 x 18446744073709551616
--context-keep EMPTY -1 x
--top-logprobs EMPTY -1 21 x
END
[ "${PHLOX_HAS_BUILTIN:-1}" = 1 ] && wrong 'nothing help' run --chat-format nothing hello

finish
