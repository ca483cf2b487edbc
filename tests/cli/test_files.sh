#!/bin/sh
# Files that are not what they should be, and paths of every kind. Nothing hangs, nothing crashes.
. "$(dirname "$0")/lib.sh"

runs() { expect 0 run "$1" --ids 1,2,3 --max-new-tokens 2; }
# refused NAME WORD...: an error of exit code 1 that has the words, within a minute.
refused() {
    directory=$1
    shift
    phlox run "$directory" --ids 1,2,3 --max-new-tokens 2 --no-cache
    [ "$code" = 1 ] || fail 'exit code 1 is meant'
    [ -s "$out" ] && fail 'something is on standard output'
    says "$@"
}
fresh() { rm -rf m; mkdir m; cp "${1:-$mini}"/*.json "${1:-$mini}"/*.safetensors m; }

# ---- paths ------------------------------------------------------------------------------------------------

fresh
for name in 'two words' 'Ümläut 模型' "$(printf 'new\nline')" '-dash' "quote'\"" '*' '%s%n' 'trailing '; do
    cp -r m "./$name"
    runs "./$name"
    expect 0 run -m "./$name" --ids 1,2,3 --max-new-tokens 2 --weight-format int8
    expect 0 run -m "./$name" --ids 1,2,3 --max-new-tokens 2 --weight-format int8
    expect 0 info "./$name" --json; read_json
done
expect 0 cache ls; expect 0 cache verify; prints '8 checked, 0 damaged'
expect 0 run --ids 1 --max-new-tokens 1 -- -dash
runs m/; runs ./m/.; runs "$work/m"; runs ../"$(basename "$work")"/m
ln -s m link; runs link
(cd m && last='phlox run .' && "$program" run . --ids 1 --max-new-tokens 1 -q >"$out" 2>"$err") || fail 'run . fails'
long=$(awk 'BEGIN { for (i = 0; i < 5000; i++) printf "a" }')
phlox run -m "$long" --ids 1; [ "$code" = 1 ] || fail 'a name of 5000 bytes'
phlox info "$long"; [ "$code" = 1 ] || fail 'a name of 5000 bytes'
dots=$(awk 'BEGIN { for (i = 0; i < 3000; i++) printf "./" }')
phlox info "${dots}m"; [ "$code" -le 1 ] || fail 'a path of 6000 bytes'
phlox cache ls --cache-dir "$long"; [ "$code" = 1 ] || fail 'a name of 5000 bytes'
phlox logits m --ids 1 -o "$long"; [ "$code" = 1 ] || fail 'a name of 5000 bytes'
# Just below the 4096 bytes that the system takes.
deep=$(awk 'BEGIN { for (i = 0; i < 240; i++) printf "d" }')
at=$work
while [ ${#at} -lt 3700 ]; do at=$at/$deep; done
mkdir -p "$at"
cp -r m "$at/m"; runs "$at/m"
expect 0 run "$at/m" --ids 1 --max-new-tokens 1 --weight-format int8
expect 0 run "$at/m" --ids 1 --max-new-tokens 1 --weight-format int8
expect 0 cache verify; prints '9 checked, 0 damaged'
phlox info "$at/absent"; [ "$code" = 1 ] || fail "a long path that is absent"
expect 0 run m --ids 1 --max-new-tokens 1 --weight-format int8 --cache-dir "$at"

# ---- not a file --------------------------------------------------------------------------------------------

refused absent absent
refused /dev/null /dev/null
refused "$mini/config.json" config.json
refused "$mini/model.safetensors" model.safetensors
mkdir nothing; refused nothing nothing config.json
ln -s loop loop; refused loop loop
ln -s gone dangling; refused dangling dangling
mkfifo fifo; refused fifo fifo

for file in config.json generation_config.json model.safetensors; do
    fresh; rm "m/$file"; mkdir "m/$file"; refused m "$file"
    fresh; rm "m/$file"; mkfifo "m/$file"; refused m "$file"
    fresh; rm "m/$file"; ln -s "$file" "m/$file"; refused m "$file"
    fresh; rm "m/$file"; ln -s /dev/zero "m/$file"; refused m "$file"
    fresh; rm "m/$file"; ln -s /proc/self/status "m/$file"; refused m "$file"
    fresh; : >"m/$file"; refused m "$file"
    fresh; printf '\0' >"m/$file"; refused m "$file"
    fresh; head -c 3000 /dev/zero >"m/$file"; refused m "$file"
    fresh; truncate -s -1 "m/$file"
    [ $file = model.safetensors ] && refused m "$file"
done
for file in config.json model.safetensors; do fresh; rm "m/$file"; refused m "$file"; done
for file in model-00002-of-00003.safetensors; do
    fresh "$family/sharded"; rm "m/$file"; refused m "$file"
    fresh "$family/sharded"; rm "m/$file"; mkfifo "m/$file"; refused m "$file"
    fresh "$family/sharded"; truncate -s -9 "m/$file"; refused m "$file"
done
for file in tokenizer.json tokenizer_config.json special_tokens_map.json; do
    fresh "$demo"; rm "m/$file"; mkfifo "m/$file"; refused m "$file"
    fresh "$demo"; rm "m/$file"; mkdir "m/$file"; refused m "$file"
    fresh "$demo"; head -c 200 "$demo/$file" >"m/$file"; refused m "$file"
done
fresh "$demo"; rm m/tokenizer.json
expect 0 run m --ids 5,6 --max-new-tokens 2; expect 1 run m hello; says tokenizer
# Every place at which a copy can have been broken off, and text in it that is no text.
for share in 1 2 3 4 5 6 7 8 9; do
    for file in config.json model.safetensors; do
        fresh
        truncate -s $(($(wc -c <"$mini/$file") * share / 10)) "m/$file"
        refused m "$file"
    done
done
fresh; sed 's/"hidden_size": 64/"hidden_size": 65/' "$mini/config.json" >m/config.json; refused m 65
fresh; sed 's/Phi3ForCausalLM/LlamaForCausalLM/; s/"phi3"/"llama"/' "$mini/config.json" >m/config.json; refused m llama
# A weight that is no number: two bytes of the last tensor.
fresh; printf '\377\177' | dd of=m/model.safetensors bs=1 conv=notrunc seek=$(($(wc -c <m/model.safetensors) - 2)) 2>/dev/null
refused m 'not a weight' model.safetensors
fresh; printf '\300\177' | dd of=m/model.safetensors bs=1 conv=notrunc seek=$(($(wc -c <m/model.safetensors) - 2000)) 2>/dev/null
phlox run m --ids 1 --weight-format int8; [ "$code" = 1 ] || fail 'NaN is converted'
[ -z "$(find "$XDG_CACHE_HOME" -name '*.partial')" ] || fail 'a partial file is left'

# As another user: a file that must not be read.
if [ "$(id -u)" != 0 ]; then
    fresh; chmod 000 m/config.json; refused m config.json
    fresh; chmod 000 m/model.safetensors; refused m model.safetensors
    fresh; chmod 000 m; refused m m; chmod 700 m
fi

finish
