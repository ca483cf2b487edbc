#!/bin/sh
# The cache of packed weights and tokenizers: made once, checked, made anew, limited, never in the way.
. "$(dirname "$0")/lib.sh"
cache=$XDG_CACHE_HOME/phlox
format='--weight-format int4 --group-size 8'
answers() { # answers OPTIONS: the model runs and says what it always says
    # shellcheck disable=SC2086 # $format is words
    expect 0 run "$mini" --ids 1,2,3 --max-new-tokens 6 --ignore-eos $format "$@"
    [ -f answer ] || cp "$out" answer
    same answer "$out"
}
only() { ls "$cache"/*; } # the path of the one entry
stamp() { printf '%s ' "$cache"/*; od -An -v -tx1 "$cache"/* | cksum; ls -i "$cache" | cut -d' ' -f1; }
finds_damage() { phlox cache verify; [ "$code" = 1 ] || fail 'exit code 1 is meant'; prints '1 damaged'; }
clean() { ls "$cache" | grep -v '\.phlox$' && fail 'something else is in the cache'; true; }

# ---- made once ------------------------------------------------------------------------------------------

expect 0 cache ls; prints 'total' '0 bytes'
answers; clean
[ "$(ls "$cache" | wc -l)" = 1 ] || fail 'there is not one file'
answers # the first start after writing checks the file and marks it
stamp >before
answers; stamp >after; same before after
expect 0 cache ls; prints weights "$(basename "$(only)")" "$mini" total
expect 0 cache verify; prints '1 checked, 0 damaged'
# Another variant, another model: other files.
expect 0 run "$mini" --ids 1 --max-new-tokens 1 --weight-format int8
expect 0 run "$family/phi4" --ids 1 --max-new-tokens 1 --weight-format int8
expect 0 tokenize "$demo" hello
[ "$(ls "$cache" | wc -l)" = 4 ] || fail 'there are not four files'
expect 0 cache ls; prints tokenizer "$demo" "$family/phi4"
expect 0 cache rm "$(cd "$cache" && ls | grep tokenizer)"; prints '1 removed'
expect 1 cache rm absent; says absent
expect 1 cache rm ../cache; says ../cache
expect 0 cache verify; prints '3 checked, 0 damaged'
expect 0 cache rm --all; prints '3 removed'
[ -z "$(ls "$cache")" ] || fail 'something is left'

# A changed source makes its file stale, and replaces it.
cp -r "$mini" copy
expect 0 run copy --ids 1 --max-new-tokens 1 --weight-format int8; phlox run copy --ids 1 --weight-format int8
stamp >before
touch -d '2001-01-01' copy/model.safetensors
expect 0 run copy --ids 1 --max-new-tokens 1 --weight-format int8; stamp >after
cmp -s before after && fail 'a file of a changed source is used'
[ "$(ls "$cache" | wc -l)" = 1 ] || fail 'the stale file is left'
# The same directory under another name is the same source.
ln -s copy alias
phlox run alias --ids 1 --max-new-tokens 1 --weight-format int8
[ "$(ls "$cache" | wc -l)" = 1 ] || fail 'a link makes another file'
phlox cache rm --all

# ---- damaged ----------------------------------------------------------------------------------------------

damage() { # damage OFFSET: changes one byte
    byte=$(od -An -tu1 -j"$1" -N1 "$(only)" | tr -d ' ')
    # shellcheck disable=SC2059 # an octal escape is meant
    printf "\\$(printf %03o $((255 - byte)))" | dd of="$(only)" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
for place in 0 8 12 16 30 3000 4100 4140; do # in the header and the table of sections
    answers; damage $place; answers; clean
    expect 0 cache verify; prints '1 checked, 0 damaged'
done
size=$(wc -c <"$(only)")
for place in 8192 $((size / 8192 * 4096)) $((size - 4096)); do # first bytes of pages of weights
    answers; damage "$place"
    finds_damage
    [ -z "$(ls "$cache")" ] || fail 'a damaged file is left'
    answers
done
for length in 0 1 100 4095 4096 5000 $((size / 2)) $((size - 1)); do
    truncate -s "$length" "$(only)"; answers; clean
    expect 0 cache verify; prints '1 checked, 0 damaged'
done
printf x >>"$(only)"; answers
head -c 20000 /dev/urandom >noise
cp noise "$(only)"
expect 0 cache ls; prints damaged
answers
: >"$(only)"; finds_damage; answers
# A directory, a pipe or a loop of links in the place of a file: no hang, and no wrong answer.
file=$(only)
for make in 'mkdir' 'mkfifo' 'ln -s loop'; do
    rm -rf "$file"
    (cd "$cache" && ln -sfn loop loop && $make "$file") 2>/dev/null
    last="$make in place of the file" code=none
    # shellcheck disable=SC2086
    timeout 60 "$program" run "$mini" --ids 1,2,3 --max-new-tokens 6 --ignore-eos $format >"$out" 2>"$err"
    code=$?
    case $code in
    0) same answer "$out" ;;
    1) says "$cache" ;;
    *) fail 'neither an answer nor an error' ;;
    esac
    rm -rf "$file" "$cache/loop"
done
answers

# ---- limits, and places that cannot be written --------------------------------------------------------------

phlox cache rm --all
# A wrong option is found before anything is converted.
expect 2 run "$mini" --ids 1 --weight-format int8 --context-size 100000; says 100000 128
[ -z "$(ls "$cache")" ] || fail 'weights are converted for a context that cannot be'
expect 2 run "$mini" --ids 1 --weight-format int8 --cache-limit 1000; says 1000 bytes --cache-limit --no-cache
[ -z "$(ls "$cache")" ] || fail 'a file is made above the limit'
# Room for one: the longest unused goes.
answers; size=$(wc -c <"$(only)"); first=$(only)
touch -d '2001-01-01' "$first"
expect 0 run "$mini" --ids 1 --max-new-tokens 1 --weight-format int4 --group-size -1 --cache-limit $((size + 1000))
[ -e "$first" ] && fail 'the limit is passed'
[ "$(ls "$cache" | wc -l)" = 1 ] || fail 'there is not one file'

rm -rf "$cache"
answers --no-cache
[ -e "$cache" ] && fail '--no-cache makes a cache'
answers --cache-dir 'other place/ä'
[ -e "$cache" ] && fail '--cache-dir is not used'
[ "$(ls 'other place/ä' | wc -l)" = 1 ] || fail '--cache-dir holds no file'
expect 0 cache ls --cache-dir 'other place/ä'; prints "$mini"
expect 0 cache rm --all --cache-dir 'other place/ä'; prints '1 removed'
expect 1 cache ls --cache-dir noise; says noise
# shellcheck disable=SC2086
expect 1 run "$mini" --ids 1 $format --cache-dir noise; says noise
# shellcheck disable=SC2086
expect 1 run "$mini" --ids 1 $format --cache-dir noise/below; says noise
if [ -d /proc/self ]; then
    # shellcheck disable=SC2086
    expect 1 run "$mini" --ids 1 $format --cache-dir /proc/phlox; says /proc/phlox --cache-dir --no-cache
fi
# A tokenizer that cannot be kept costs time only.
expect 0 tokenize "$demo" hello --cache-dir noise

unset HOME XDG_CACHE_HOME
answers
expect 1 cache ls; says HOME --cache-dir
HOME=$work/home answers
[ -d home/.cache/phlox ] || fail 'the cache is not in ~/.cache'
XDG_CACHE_HOME=relative HOME=$work/home2 answers
[ -d home2/.cache/phlox ] || fail 'a relative XDG_CACHE_HOME is not passed over'
export HOME="$work/home" XDG_CACHE_HOME="$work/cache"

# A directory of somebody's files.
mkdir shared
for name in movie.mkv.partial notes.phlox weights-1.phlox.partial; do echo theirs >shared/$name; done
# shellcheck disable=SC2086
expect 0 run "$mini" --ids 1 --max-new-tokens 1 $format --cache-dir shared
expect 0 cache verify --cache-dir shared; prints '1 checked, 0 damaged'
expect 0 cache rm --all --cache-dir shared; prints '1 removed'
[ "$(cat shared/* | grep -c theirs)" = 3 ] || fail 'a file of somebody else is gone'

# A limit on the size of files is an error with a sentence.
mkdir limited
# shellcheck disable=SC2086
(ulimit -f 20 && exec "$program" run "$mini" --ids 1 $format --cache-dir "$work/limited") >"$out" 2>"$err"
code=$? last='phlox run, files of 10 kB at most'
[ "$code" = 1 ] || fail 'exit code 1 is meant'
says limited space
[ -z "$(ls limited)" ] || fail 'a partial file is left behind the limit'

# A full disk, where a small one can be mounted.
mkdir small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=64k tmpfs small 2>/dev/null; then
    trap 'umount "$work/small"; on_exit' EXIT
    # shellcheck disable=SC2086
    expect 1 run "$mini" --ids 1 $format --cache-dir small; says small space
    [ -z "$(ls small)" ] || fail 'a partial file is left on the full disk'
    expect 0 tokenize "$demo" hello --cache-dir small
    dd if=/dev/zero of=small/filler bs=1k count=60 2>/dev/null
    expect 1 logits "$mini" --ids 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 --all -o small/out.npy; says small space
    ls small | grep -q out && fail 'a partial file is left on the full disk'
fi

# ---- several at once --------------------------------------------------------------------------------------------

rm -rf "$cache"
last='four at once'
for i in 1 2 3 4; do
    # shellcheck disable=SC2086
    { timeout 100 "$program" run "$mini" --ids 1,2,3 --max-new-tokens 6 --ignore-eos $format >out$i 2>err$i
      echo $? >code$i; } &
done
wait
for i in 1 2 3 4; do
    code=$(cat code$i); cp err$i "$err"
    [ "$code" = 0 ] || fail 'one of four at once fails'
    same answer out$i
done
clean
[ "$(ls "$cache" | wc -l)" = 1 ] || fail 'there is not one file'
expect 0 cache verify; prints '1 checked, 0 damaged'
# What a killed process left goes at the next conversion.
: >"$(only).abcdef.partial"
expect 0 run "$mini" --ids 1 --max-new-tokens 1 --weight-format int8; clean

finish
