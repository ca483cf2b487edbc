#!/bin/sh
# phlox logits: the file, and its values beside those of transformers for every family member.
. "$(dirname "$0")/lib.sh"

# ---- the values ---------------------------------------------------------------------------------------

for directory in "$family"/*/; do
    name=$(basename "$directory")
    ids=$(npy_ids "$directory/ids.npy")
    count=$(printf '%s\n' "$ids" | tr ',' '\n' | wc -l)
    expect 0 logits "$directory" --ids "$ids" --all -o "$name.npy"
    is_quiet
    close_to "$name.npy" "$directory/logits.npy" 1e-3
    # Token by token, against the steps of transformers: the context grows past the longrope border.
    expect 0 logits "$directory" --ids "$ids" --all --prefill 1 -o steps.npy
    close_to steps.npy "$directory/steps.npy" 1e-3
    expect 0 logits "$directory" --ids "$ids" --prefill $((count / 2)) -o half.npy
    expect 0 logits "$directory" --ids "$ids" -o last.npy
    close_to half.npy last.npy 1e-3
done

# ---- the file -------------------------------------------------------------------------------------------

ids=$(npy_ids "$mini/ids.npy")
count=$(printf '%s\n' "$ids" | tr ',' '\n' | wc -l)
expect 0 logits "$mini" --ids "$ids" --all -o all.npy
[ "$(od -An -tx1 -N8 all.npy | tr -d ' ')" = 934e554d50590100 ] || fail 'the magic is wrong'
size=$(od -An -tu2 -j8 -N2 all.npy | tr -d ' ')
[ $(((10 + size) % 64)) = 0 ] || fail 'the values do not begin at a multiple of 64'
dd if=all.npy bs=1 skip=10 count="$size" 2>/dev/null >header
[ "$(sed 's/ *$//' header)" = "{'descr': '<f4', 'fortran_order': False, 'shape': ($count, 128), }" ] ||
    fail "the header is $(cat header)"
[ "$(tail -c 1 header | od -An -tu1 | tr -d ' ')" = 10 ] || fail 'the header does not end with a newline'
[ "$(wc -c <all.npy)" = $((10 + size + 4 * 128 * count)) ] || fail 'the file has another size'
expect 0 logits "$mini" --ids "$ids" -o last.npy
dd if=last.npy bs=1 skip=10 count=118 2>/dev/null | grep -qF "'shape': (128,)" || fail 'the shape is wrong'
[ "$(wc -c <last.npy)" = $((128 + 4 * 128)) ] || fail 'the file has another size'
tail -c 512 all.npy >tail_all
tail -c 512 last.npy >tail_last
same tail_all tail_last

printf '%s\n' "$ids" | tr ',' '\n' >ids
expect 0 logits "$mini" --ids @ids -o other.npy; same last.npy other.npy
expect 0 logits "$mini" --ids @- -o other.npy <ids; same last.npy other.npy
expect 0 logits "$mini" --ids "$ids" --prefill "$count" --output other.npy; same last.npy other.npy
expect 0 logits "$mini" --ids "$ids" -o -; same last.npy "$out"
expect 0 logits "$mini" --ids "$ids" -o other.npy; same last.npy other.npy # over one that is there
mkfifo pipe
timeout 60 cat pipe >through &
expect 0 logits "$mini" --ids "$ids" -o pipe
wait; same last.npy through
[ -p pipe ] || fail 'the pipe was replaced'
ln -s target.npy link.npy
expect 0 logits "$mini" --ids "$ids" -o link.npy; same last.npy target.npy
[ -L link.npy ] || fail 'the link was replaced'

# ---- threads, kernels, precision ------------------------------------------------------------------------

for threads in 1 2 3 4; do
    expect 0 logits "$mini" --ids "$ids" --threads $threads -o other.npy; same last.npy other.npy
done
expect 0 logits "$mini" --ids "$ids" --cpu-mask avx2 -o other.npy; close_to last.npy other.npy 1e-3
expect 0 logits "$mini" --ids "$ids" --cpu-mask 0xffff -o other.npy; close_to last.npy other.npy 1e-3
expect 0 logits "$mini" --ids "$ids" --exact -o other.npy; close_to last.npy other.npy 1e-3
expect 0 logits "$mini" --ids "$ids" --weight-format f32 --no-cache -o other.npy; close_to last.npy other.npy 1e-5
# Exact runs of quantized weights differ little from usual ones, and from float weights more.
expect 0 logits "$mini" --ids "$ids" --weight-format int8 --no-cache -o int8.npy
expect 0 logits "$mini" --ids "$ids" --weight-format int8 --no-cache --exact -o exact.npy
close_to int8.npy exact.npy 1
same_bytes=yes; cmp -s exact.npy last.npy || same_bytes=no
[ $same_bytes = no ] || fail 'int8 gives the float logits'

# ---- errors -----------------------------------------------------------------------------------------------

rm -f other.npy
expect 2 logits "$mini" --ids 1,128 -o other.npy; says 128 'place 1'
expect 2 logits "$mini" --ids 1,2147483647 -o other.npy; says 2147483647
expect 2 logits "$mini" --ids 1,4294967297 -o other.npy; says 'byte 2'
expect 2 logits "$mini" --ids -1 -o other.npy; says 'byte 0'
expect 2 logits "$mini" --ids '' -o other.npy
expect 2 logits "$mini" --ids @/dev/null -o other.npy
expect 1 logits "$mini" --ids @absent -o other.npy; says absent
for prefill in 0 3 -1 1x 1.0 '' 99999999999999999999; do
    expect 2 logits "$mini" --ids 1,2 --prefill "$prefill" -o other.npy; says --prefill
done
seq -s, 1 127 >most
expect 1 logits "$mini" --ids "$(cat most),1,2" -o other.npy; says 129 128
expect 0 logits "$mini" --ids "$(cat most),1" -o full.npy
expect 1 logits "$mini" --ids 1,2,3 --context-size 2 -o other.npy; says 3 2
expect 1 logits absent --ids 1 -o other.npy; says absent
[ -e other.npy ] && fail 'an error leaves a file'
expect 1 logits "$mini" --ids 1 -o absent/other.npy; says absent/other.npy
mkdir directory
expect 1 logits "$mini" --ids 1 -o directory; says directory
if [ -c /dev/full ]; then
    ln -s /dev/full full
    expect 1 logits "$mini" --ids 1 -o full; says 'space'
    last='phlox logits -o - >/dev/full'
    timeout 100 "$program" logits "$mini" --ids 1 -o - >/dev/full 2>"$err"; code=$?
    [ "$code" = 1 ] || fail 'exit code 1 is meant'
    says 'standard output'
fi
ls | grep -q partial && fail 'a partial file is left'

finish
