# Shared by the scripts beside it: a temporary directory, a runner that keeps what the program says,
# and checks that count their failures. Each script ends with `finish`.
set -u
program=${PHLOX_PROGRAM:?the program to test}
source_dir=${PHLOX_SOURCE_DIR:?the source directory}
cli_dir=$source_dir/tests/cli
family=$source_dir/tests/golden/family
mini=$family/phi3-mini-4k          # has no tokenizer
demo=$source_dir/models/demo/hf    # has one

[ -x "$program" ] || { echo "there is no program"; exit 77; }
work=$(mktemp -d) || exit 1
on_exit() { cd / && rm -rf "$work"; }
trap on_exit EXIT
trap 'exit 1' INT TERM HUP
cd "$work" || exit 1
export HOME="$work/home" XDG_CACHE_HOME="$work/cache" LC_ALL=C
unset NO_COLOR
# A code of their own for the sanitizers, where there are any: 1 is one of the program's.
export ASAN_OPTIONS="exitcode=99:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="exitcode=99:${UBSAN_OPTIONS:-}"
export LSAN_OPTIONS="exitcode=99:${LSAN_OPTIONS:-}"

failures=0 last=nothing code=0 out=$work/out err=$work/err
: >"$out" >"$err"

need_built_in() {
    [ "${PHLOX_HAS_BUILTIN:-1}" = 1 ] || { echo "there is no built-in model"; exit 77; }
}

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
    echo "  after: $last (exit code $code)"
    head -c 600 "$err" | sed 's/^/  stderr: /'
}

# phlox ARGUMENTS: runs it; what it wrote is in $out and $err, its exit code in $code.
phlox() {
    last="phlox $*"
    timeout -k 5 200 "$program" "$@" >"$out" 2>"$err"
    code=$?
    if grep -q -e 'runtime error:' -e 'Sanitizer' "$err"; then fail "a sanitizer reports"; fi
}

# expect CODE ARGUMENTS: as phlox, with the exit code that is meant. A failure must say something.
expect() {
    wanted=$1
    shift
    phlox "$@"
    [ "$code" = "$wanted" ] || fail "exit code $wanted is meant"
    if [ "$wanted" != 0 ] && ! [ -s "$err" ]; then fail "there is no message"; fi
}

# says WORD...: each is in standard error; prints WORD...: each is in standard output.
says() {
    for word in "$@"; do grep -qF -e "$word" "$err" || fail "standard error lacks: $word"; done
}
prints() {
    for word in "$@"; do grep -qF -e "$word" "$out" || fail "standard output lacks: $word"; done
}
prints_exactly() {
    printf '%s\n' "$1" | cmp -s - "$out" || fail "standard output is not: $1 but: $(head -c 300 "$out")"
}
is_quiet() { [ ! -s "$err" ] || fail "standard error is not empty"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# field PATH: a value of the JSON in $out, e.g. field .statistics.device
field() {
    awk -v path="$1=" 'index($0, path) == 1 { print substr($0, length(path) + 1) }' "$work/fields"
}
# Checks that $out is one JSON value and keeps its leaves, PATH=VALUE a line, for field().
read_json() {
    awk -f "$cli_dir/json.awk" "$out" >"$work/fields" || fail "standard output is not JSON"
}
# has PATH VALUE: the JSON's value, as it is written there.
has() { [ "$(field "$1")" = "$2" ] || fail "$1 is $(field "$1"), not $2"; }

# values FILE.npy: its float32 values, one a line.
values() {
    size=$(od -An -tu2 -j8 -N2 "$1")
    od -An -v -tf4 -w4 -j$((size + 10)) "$1"
}
# Largest absolute difference of two .npy files with as many values is at most LIMIT.
close_to() {
    values "$1" >"$work/left" && values "$2" >"$work/right"
    paste "$work/left" "$work/right" | awk -v limit="$3" '
        NF != 2 { bad = 1 }
        { d = $1 - $2; if (d < 0) d = -d; if (!(d <= limit)) bad = 1 }
        END { exit bad || !NR }' || fail "$1 and $2 differ by more than $3"
}
# The ids of a .npy file of 32-bit integers, separated by commas.
npy_ids() {
    size=$(od -An -tu2 -j8 -N2 "$1")
    od -An -v -td4 -w4 -j$((size + 10)) "$1" | tr -d ' ' | paste -sd, -
}

finish() {
    [ "$failures" = 0 ] && exit 0
    echo "$failures checks failed"
    exit 1
}
