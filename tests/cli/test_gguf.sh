#!/bin/sh
# GGUF files at the command line: what info says of them, the cache, a file alone, exports.
. "$(dirname "$0")/lib.sh"

gguf=$source_dir/tests/golden/gguf

# Integers are kept, whatever their groups, and info says so; those of a format that is asked for are not.
expect 0 info "$gguf/q8_0"; prints '(gguf)' 'stored as Q8_0' 'int8 sym g32'
expect 0 info "$gguf/q4_0"; prints 'stored as Q4_0, Q8_0' 'int4 sym g32, int8 sym g32'
expect 0 info "$gguf/q4_k_m"; prints 'stored as Q6_K, Q4_K, Q8_0' 'int8 sym g16, int4 asym g32, int8 sym per'
expect 0 info "$gguf/q2_k"; prints 'Q2_K' 'int4 sym g16, int4 asym g16'
expect 0 info "$gguf/q4_k_m" --weight-format int4 --group-size 32; prints 'weights         int4 asym g32'
expect 0 info "$gguf/q4_0" --weight-format int4; prints 'int4 sym g32, int8 sym g32'
expect 0 run "$gguf/q4_k_m" --ids 1,2 --max-new-tokens 2 --weight-format bf16

# The packed weights are found again, and not when the file has changed.
cp "$gguf/q8_0/model.gguf" "Phi 3.gguf"
for again in 1 2; do
    expect 0 logits 'Phi 3.gguf' --ids 1,2,3 -o "$again.npy"
done
cmp -s 1.npy 2.npy || fail 'the cache gives other logits'
expect 0 cache ls; prints 'Phi 3.gguf'
cp "$gguf/f16/model.gguf" "Phi 3.gguf"
expect 0 logits 'Phi 3.gguf' --ids 1,2,3 -o 3.npy
cmp -s 1.npy 3.npy && fail 'the cache gives the logits of the file before'
mkdir several && cp "$gguf/q8_0/model.gguf" several/a.gguf && cp "$gguf/f16/model.gguf" several/b.gguf
expect 2 info several; says 'a.gguf' 'b.gguf' 'name one of them'
expect 0 info several/b.gguf

# Text there and back, and a turn.
expect 0 tokenize "$gguf/vocab-llama" 'the model reads'
expect 0 detokenize "$gguf/vocab-llama" "$(cat "$out")"; prints 'the model reads'
expect 0 run "$gguf/vocab-llama/model.gguf" --max-new-tokens 3 'the model'

# To another form: the descriptor and the tokenizer go with it.
expect 0 export openvino --model "$gguf/vocab-phi4" there
[ -s there/config.json ] && [ -s there/tokenizer.json ] || fail 'files are missing in the export'

finish
