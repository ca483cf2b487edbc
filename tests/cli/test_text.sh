#!/bin/sh
# phlox tokenize, detokenize, info and perplexity.
. "$(dirname "$0")/lib.sh"
need_built_in

# ---- there and back ---------------------------------------------------------------------------------

round_trip() {
    phlox tokenize built-in <"$1"
    [ "$code" = 0 ] || fail "$1 gives no ids"
    cp "$out" ids
    expect 0 detokenize built-in @ids; same "$1" "$out"; is_quiet
    expect 0 detokenize built-in <ids; same "$1" "$out"
    expect 0 detokenize built-in "$(cat ids)"; same "$1" "$out"
    expect 0 tokenize "$demo" <"$1"; same ids "$out" # parses tokenizer.json, or reads the cache
    expect 0 tokenize built-in --json - <"$1"; cp "$out" json
    tr -d '[],' <json | cmp -s - ids || fail "--json gives other ids for $1"
    read_json
    expect 0 detokenize built-in @json; same "$1" "$out"
}
printf 'What is an NPU?' >sentence; round_trip sentence
printf 'a\0b\0\0c' >nul; round_trip nul
printf ' two  spaces \n\n\tand lines\r\n' >blanks; round_trip blanks
printf '\303\244\342\202\254\360\237\230\200 \330\247\331\204 \346\274\242' >scripts; round_trip scripts
printf '<|user|> <|end|> </s> <s> <unk> <0x41>' >control; round_trip control
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "word%d ", i * i }' >long; round_trip long
: >empty
expect 0 tokenize built-in <empty; prints_exactly ''
expect 0 tokenize built-in --json <empty; prints_exactly '[]'
expect 0 tokenize built-in ''; prints_exactly ''

expect 0 tokenize built-in 'What is an NPU?'; cp "$out" ids
expect 0 tokenize built-in <sentence; same ids "$out"
expect 0 tokenize built-in --json 'What is an NPU?'
[ "$(head -c 1 "$out")" = '[' ] || fail '--json does not begin with ['

# ---- control tokens -----------------------------------------------------------------------------------

expect 0 tokenize built-in --raw '<|end|>'; end=$(cat "$out")
[ "$(wc -w <"$out")" = 1 ] || fail '--raw <|end|> is not one token'
expect 0 tokenize built-in '<|end|>'
[ "$(wc -w <"$out")" -gt 2 ] || fail '<|end|> is a control token without --raw'
tr ' ' '\n' <"$out" | grep -qx "$end" && fail 'the id of <|end|> comes out without --raw'
expect 0 tokenize built-in 'x'; plain=$(cat "$out")
expect 0 tokenize built-in --bos 'x'
[ "${plain#* }" = "${plain}" ] && [ "$(cat "$out")" = "1 $plain" ] || fail "--bos: $(cat "$out")"
expect 0 tokenize built-in --raw 'x'; prints_exactly "$plain"
expect 0 detokenize built-in "$end"; [ -s "$out" ] && fail 'a control token is written without --raw'
expect 0 detokenize built-in --raw "$end"; printf '<|end|>' | cmp -s - "$out" || fail 'no control token with --raw'

# ---- errors -------------------------------------------------------------------------------------------

printf 'abc\377' >invalid
expect 2 tokenize built-in <invalid; says 0xff 'offset 3'
expect 1 tokenize "$mini" hello; says "$mini" tokenizer.json
expect 1 tokenize absent hello; says absent
expect 1 tokenize absent </dev/null; says absent
expect 1 tokenize . </dev/null; says config.json
expect 1 detokenize "$mini" 1; says tokenizer.json
expect 2 detokenize built-in 5,2048; says 2048 'place 1'
expect 2 detokenize built-in 5,2147483648; says 'byte 2'
expect 2 detokenize built-in -- -1
expect 2 detokenize built-in 5,x; says 'byte 2'
expect 2 detokenize built-in ''
expect 2 detokenize built-in </dev/null
printf '1\0002' >nul_ids
expect 2 detokenize built-in @nul_ids; says 'byte 1'
expect 1 detokenize built-in @absent; says absent
expect 1 detokenize built-in @.; says .

# ---- info ---------------------------------------------------------------------------------------------

expect 0 info built-in; is_quiet; prints Phi3ForCausalLM '512 tokens' 2048 phi3 cpu
expect 0 info "$mini"; prints "$mini" 'sliding window  11' 'no tokenizer' bf16 '120, 121, 127' '128 tokens'
expect 0 info "$family/phi35-mini"; prints longrope
expect 0 info "$mini" --json; read_json; is_quiet
has .path "$mini"; has .form huggingface; has .architecture Phi3ForCausalLM; has .stored bf16
has .parameters 98240; has .stored_bytes 196480; has .sliding_window 11; has .vocab_size 128
has .has_tokenizer false; has '.eos_ids[2]' 127; has .memory_context 128
whole=$(field .memory_bytes) each=$(field .kv_bytes_per_token)
expect 0 info "$mini" --json --at 28; read_json; has .memory_context 28
has .memory_bytes $((whole - 100 * each))
expect 0 info "$mini" --at 28; prints 'at 28 tokens'
for value in 0 -1 129 5x 1e2 '' 99999999999999999999; do expect 2 info "$mini" --at "$value"; says --at 128; done
stored=$(field .weight_bytes)
expect 0 info "$mini" --json --weight-format f32; read_json
[ "$(field .weight_bytes)" -gt $((stored * 19 / 10)) ] || fail 'f32 is not twice as large as bf16'
[ -d "$XDG_CACHE_HOME/phlox" ] && ls "$XDG_CACHE_HOME/phlox" | grep -q weights && fail 'info converts weights'
mkdir "$(printf 'dir\377')" && cp "$mini"/*.json "$mini"/*.safetensors "$(printf 'dir\377')"
expect 0 info "$(printf 'dir\377')" --json; read_json; has .path null

# ---- perplexity -----------------------------------------------------------------------------------------

printf 'phlox is a program that runs Phi-3. What is an NPU? An NPU is a processor for neural networks.' >known
expect 0 perplexity built-in known; grep -qE '^perplexity [0-9.]+ over [0-9]+ tokens' "$out" || fail 'no perplexity'
cp "$out" first
expect 0 perplexity built-in - <known; same first "$out"
expect 0 perplexity "$demo" known; same first "$out"
known=$(awk '{ print $2 }' first)
printf 'zq xv ((( 0x7f jjjj wwww %%%% QQQ zzz vvv kkk' >unknown
expect 0 perplexity built-in unknown
awk -v known="$known" '{ exit !($2 > 3 * known) }' "$out" || fail 'noise is not harder than what was learnt'
head -c 4000 long >window # more than a window
expect 0 perplexity built-in window --context-size 100
expect 2 perplexity built-in empty; says tokens
expect 2 perplexity built-in invalid; says UTF-8
expect 1 perplexity built-in absent; says absent
expect 1 perplexity built-in .; says .
expect 1 perplexity "$mini" known; says tokenizer

finish
