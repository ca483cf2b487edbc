#!/bin/sh
# SIGINT and SIGTERM at many moments: exit code 130, no partial file, a sound cache, whole characters.
. "$(dirname "$0")/lib.sh"
cache=$XDG_CACHE_HOME/phlox

# ---- a checkpoint that takes a while to convert ---------------------------------------------------------

# Zeros in a file with holes: 112 million bf16 weights that need no room on the disk.
mkdir large
cat >large/config.json <<'END'
{"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "vocab_size": 16000, "hidden_size": 1024,
"intermediate_size": 4096, "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 8,
"max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "rope_theta": 10000.0,
"rms_norm_eps": 1e-05, "hidden_act": "silu", "eos_token_id": 15999, "tie_word_embeddings": false}
END
awk 'function tensor(name, rows, columns,    bytes) {
        bytes = 2 * columns * (rows ? rows : 1)
        header = header sprintf("%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s%d],\"data_offsets\":[%d,%d]}",
            header == "" ? "" : ",", name, rows ? rows "," : "", columns, at, at + bytes)
        at += bytes
    }
    BEGIN {
        at = 0
        tensor("model.embed_tokens.weight", 16000, 1024)
        for (i = 0; i < 5; i++) {
            p = "model.layers." i "."
            tensor(p "input_layernorm.weight", 0, 1024)
            tensor(p "self_attn.qkv_proj.weight", 3072, 1024)
            tensor(p "self_attn.o_proj.weight", 1024, 1024)
            tensor(p "post_attention_layernorm.weight", 0, 1024)
            tensor(p "mlp.gate_up_proj.weight", 8192, 1024)
            tensor(p "mlp.down_proj.weight", 1024, 4096)
        }
        tensor("model.norm.weight", 0, 1024)
        tensor("lm_head.weight", 16000, 1024)
        print at >"bytes"
        printf "{%s}", header >"header"
    }'
size=$(wc -c <header)
# shellcheck disable=SC2059 # octal escapes are meant
printf "\\$(printf %03o $((size % 256)))\\$(printf %03o $((size / 256)))\\0\\0\\0\\0\\0\\0" >large/model.safetensors
cat header >>large/model.safetensors
truncate -s $((8 + size + $(cat bytes))) large/model.safetensors
expect 0 info large --weight-format int8

# ---- conversion ---------------------------------------------------------------------------------------------

# interrupt SIGNAL SECONDS ARGUMENTS: starts the program, sends the signal, waits for its end.
interrupted=0
interrupt() {
    signal=$1 seconds=$2
    shift 2
    last="phlox $*, SIG$signal after $seconds s"
    "$program" "$@" >"$out" 2>"$err" </dev/null &
    child=$!
    sleep "$seconds"
    kill -"$signal" $child 2>/dev/null
    wait $child
    code=$?
    case $code in
    130) interrupted=$((interrupted + 1)) ;;
    0) ;; # it was done before, or SIGINT came before it could listen: a shell starts it ignored
    143) [ "$signal" = TERM ] && [ ! -s "$out" ] || fail 'killed' ;; # before it could listen
    *) fail 'exit code 130 is meant' ;;
    esac
    iconv -f UTF-8 -t UTF-8 "$out" >/dev/null 2>&1 || fail 'the text so far is not UTF-8'
    if grep -q -e 'runtime error:' -e Sanitizer "$err"; then fail 'a sanitizer reports'; fi
    [ -z "$(find "$XDG_CACHE_HOME" -name '*.partial' 2>/dev/null)" ] || fail 'a partial file is left'
}

for seconds in 0.01 0.03 0.06 0.1 0.15 0.2 0.3 0.4; do
    interrupt INT $seconds run large --ids 1,2,3 --max-new-tokens 600 --weight-format int8
    interrupt TERM $seconds run large --ids 1,2,3 --max-new-tokens 600 --weight-format int4
    [ "$code" = 130 ] && [ -z "$(ls "$cache" 2>/dev/null)" ] && during=yes
    phlox cache rm --all
done
[ "$interrupted" -ge 6 ] || fail "only $interrupted of 16 were interrupted"
[ "${during:-no}" = yes ] || echo 'no signal came during a conversion'
expect 0 run large --ids 1,2,3 --max-new-tokens 2 --weight-format int8
expect 0 cache verify; prints '1 checked, 0 damaged'

# ---- reading the prompt, and the answer -----------------------------------------------------------------------

awk 'BEGIN { for (i = 0; i < 3000; i++) print i % 15000 }' >ids
interrupted=0
for seconds in 0.1 0.2 0.3 0.6; do
    interrupt INT $seconds run large --ids @ids --max-new-tokens 500 --weight-format int8
    interrupt INT $seconds run large --ids 1,2,3 --max-new-tokens 1000 --ignore-eos --weight-format int8
    interrupt TERM $seconds run large --ids 1,2,3 --max-new-tokens 1000 --ignore-eos --weight-format int8 --json
    [ "$code" != 130 ] || [ ! -s "$out" ] || read_json
    interrupt INT $seconds logits large --ids @ids --weight-format int8 --prefill 1 -o logits.npy
    [ -e logits.npy ] && [ "$code" = 130 ] && fail 'an interrupted command leaves a file'
    rm -f logits.npy
done
[ "$interrupted" -ge 8 ] || fail "only $interrupted of 16 were interrupted"
expect 0 cache verify; prints '1 checked, 0 damaged'
if [ "${PHLOX_HAS_BUILTIN:-1}" = 1 ]; then
    for seconds in 0.02 0.05 0.1 0.2 0.3; do
        interrupt INT $seconds run --ignore-eos --max-new-tokens 400 --temperature 20 --seed 3 'What is an NPU?'
    done
    # Its statistics say what was made so far.
    [ "$code" = 130 ] && says 'decode'
fi

# Waiting for standard input, twice: the second signal ends it in any case.
mkfifo never
sleep 30 >never &
sleeper=$!
"$program" run - <never >"$out" 2>"$err" &
reader=$!
sleep 0.3
kill -INT $reader
sleep 0.3
kill -INT $reader 2>/dev/null
last='phlox run -, waiting'
wait $reader; code=$?
[ "$code" = 130 ] || fail 'exit code 130 is meant'
kill $sleeper
# nohup keeps it running.
(trap '' HUP; exec "$program" run large --ids 1 --ignore-eos --max-new-tokens 1000 --weight-format int8 >"$out" 2>"$err") &
reader=$!
sleep 0.4
kill -HUP $reader 2>/dev/null
sleep 0.2
kill -0 $reader 2>/dev/null || [ "$(wc -w <"$out")" = 1000 ] || fail 'SIGHUP ends it though it is ignored'
kill -INT $reader 2>/dev/null
wait $reader

finish
