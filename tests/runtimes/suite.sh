#!/bin/sh
# The device suite: installs both runtimes with phlox runtime add, runs the tests that need them, and compares text and
# distributions of all devices that run on a machine without GPU and NPU.
# Usage: suite.sh BUILD [full]     full: a full-size Phi-3-mini of random weights too
# Only a package index that cannot be reached skips anything; the last line says what was skipped.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
build=$(cd "${1:?the build directory}" && pwd) || exit 2
full=${2:-}
program=$build/phlox
family=$source_dir/tests/golden/family
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
# The runtimes stay from run to run, so that a second one needs no network.
export XDG_DATA_HOME="$build/data" XDG_CACHE_HOME="$work/cache" LC_ALL=C
unset VIRTUAL_ENV PYTHONPATH ORT_LIB_PATH

failures=0 skipped=
fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}
skip() { skipped="$skipped${skipped:+, }$*"; }
finish() {
    if [ "$failures" -gt 0 ]; then
        echo "device suite: $failures failures${skipped:+; skipped: $skipped}"
        exit 1
    fi
    echo "device suite: passed${skipped:+; skipped: $skipped}"
    exit 0
}

# ---- the runtimes -----------------------------------------------------------------------------------------

# install NAME: sets `library` to its path in phlox's folder, or to nothing when the index cannot be reached.
install() {
    library=$(ls "$XDG_DATA_HOME/phlox/runtimes/$1"/*/$2 2>/dev/null | tail -1)
    [ -z "$library" ] || return
    if ! "$program" runtime add "$1" >"$work/add" 2>&1; then
        cat "$work/add"
        if grep -q 'no connection' "$work/add"; then skip "$1 (the package index cannot be reached)"
        else fail "phlox runtime add $1"; fi
        return
    fi
    cat "$work/add"
    library=$(ls "$XDG_DATA_HOME/phlox/runtimes/$1"/*/$2 2>/dev/null | tail -1)
    [ -n "$library" ] || fail "phlox runtime add $1 brought no $2"
}

install openvino 'libopenvino_c.so*'
openvino=$library
install onnxruntime-genai libonnxruntime-genai.so
ort=$library
"$program" runtime list

# ---- the tests of the two devices -------------------------------------------------------------------------

# run_tests NAME VARIABLE LIBRARY: every test of the device; none may skip what needs the library.
run_tests() {
    for test in "$build/tests/device/test_$1"*; do
        name=device.${test##*/test_}
        [ -x "$test" ] || { fail "there is no $name"; continue; }
        env "$2=$3" "$test" >"$work/log" 2>&1 || { cat "$work/log"; fail "$name with $3"; }
        ! grep -q SKIPPED "$work/log" || fail "$name skips tests although $3 is there"
        sed -n "s/^\[==========\] \([0-9]* test(s) run\).*/$name: \1/p" "$work/log"
    done
}
[ -z "$openvino" ] || run_tests openvino PHLOX_TEST_OPENVINO "$openvino"
[ -z "$ort" ] || run_tests ort PHLOX_TEST_ORT "$ort"

# ---- all devices against the native engine ----------------------------------------------------------------

# Each line: what to call it, and the options.
: >"$work/devices"
if [ -n "$openvino" ]; then
    echo "openvino:CPU --device openvino:CPU" >>"$work/devices"
    echo "openvino:NPU --device openvino:NPU --ov-config NPUW_DEVICES=CPU --ov-config NPUW_ONLINE_PIPELINE=NONE" \
        >>"$work/devices"
fi
[ -z "$ort" ] || echo "ort:cpu --device ort:cpu" >>"$work/devices"

answer() { # PROMPT OPTIONS...
    prompt=$1
    shift
    "$program" run --quiet --greedy --max-new-tokens 80 "$@" "$prompt" 2>"$work/err" || cat "$work/err"
}

# The same greedy text of the built-in model, in its own format and in those that NPUs run.
compare_texts() { # NAME OPTIONS...
    name=$1
    shift
    for format in 'stored' 'int8' 'int4 --sym --group-size 128' 'int4 --sym --group-size -1' 'f16'; do
        for prompt in 'Can you introduce yourself?' 'What is an NPU?' 'Which device should I choose?'; do
            # shellcheck disable=SC2086
            answer "$prompt" --device cpu --weight-format $format >"$work/native"
            # shellcheck disable=SC2086
            answer "$prompt" "$@" --weight-format $format >"$work/other"
            cmp -s "$work/native" "$work/other" || {
                fail "$name, $format: another answer to \"$prompt\""
                diff "$work/native" "$work/other"
            }
        done
    done
}

# The next-token distributions of every member of the family behind some tokens, with float32 on both sides; longrope
# changes its factors behind 32, where programs for the NPU would have to be longer.
compare_family() { # NAME OPTIONS...
    name=$1
    shift
    worst=0
    for member in "$family"/*/; do
        if ! "$program" compare "$member" --random "$tokens" "$@" --exact --with --device cpu --exact --json \
            >"$work/kl" 2>"$work/err"; then
            fail "$name: $(basename "$member"): $(cat "$work/err")"
            continue
        fi
        kl=$(awk -F'[ ,:]+' '/"max"/ { print $3 }' "$work/kl")
        awk "BEGIN { exit !($kl <= $bound) }" || fail "$name: $(basename "$member"): $kl nats, at most $bound are meant"
        worst=$(awk "BEGIN { print ($kl > $worst) ? $kl : $worst }")
    done
    echo "$name: at most $worst nats from the native engine on $(ls -d "$family"/*/ | wc -l) models"
}

while read -r name options; do
    # The programs for an NPU compute in float16 where the others have float32.
    bound=1e-6 tokens=96
    case $name in *NPU) bound=1e-4 tokens=24 ;; esac
    # shellcheck disable=SC2086
    compare_texts "$name" $options </dev/null
    # shellcheck disable=SC2086
    compare_family "$name" $options </dev/null
    # shellcheck disable=SC2086
    "$program" verify "$name" ${options#--device "$name"} </dev/null || fail "phlox verify $name"
done <"$work/devices"

# A device is chosen among those that gave the known answer, and says so.
if [ -s "$work/devices" ]; then
    "$program" advise built-in >"$work/advice" 2>&1 || { cat "$work/advice"; fail 'phlox advise'; }
    cat "$work/advice"
    grep -q '^\*' "$work/advice" || fail 'phlox advise takes none'
fi

# ---- full size --------------------------------------------------------------------------------------------

if [ "$full" = full ]; then
    . "$here/full_size.sh"
fi
finish
