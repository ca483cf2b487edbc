#!/bin/sh
# The Arm kernels, cross-compiled and run under qemu-user on a model with NEON only, on one with
# dotprod and on one with i8mm; forced on models that cannot run them, they must trap.
# Skipped where the cross compiler or qemu-aarch64 is missing, on Arm (its own tests run them there)
# and for sanitizer builds (which would build the same again).
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1"; cat "$work/out"; exit 1; }

[ "$(uname -m)" != aarch64 ] || skip "an Arm machine"
case ${PHLOX_SANITIZE:-} in '' | OFF | NONE | none | off) ;; *) skip "sanitizer build" ;; esac
command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64"
command -v cmake >/dev/null || skip "no cmake"

# Clang builds for every processor, but needs the libraries of the cross compiler.
triple=aarch64-linux-gnu
case ${CC:-} in
*clang*) set -- "$CC" --target=$triple ;;
*) set -- $triple-gcc ;;
esac
command -v "$1" >/dev/null || skip "no $1"
echo 'int main(void) { return 0; }' >"$work/empty.c"
"$@" -static "$work/empty.c" -o "$work/empty" 2>/dev/null ||
    skip "$* links nothing (libc6-dev-arm64-cross is missing)"

build=${PHLOX_TESTS_DIR:?}/kernels/arm
{
    cmake -S "${PHLOX_SOURCE_DIR:?}/tests/kernels/arm" -B "$build" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
        -DCMAKE_C_COMPILER="$1" -DCMAKE_C_COMPILER_TARGET=$triple &&
        cmake --build "$build"
} >"$work/out" 2>&1 || fail "the build"

# run CPU PROGRAM ARGUMENTS...: output in $work/out, status as the shell sees it
run() {
    cpu=$1 program=$2
    shift 2
    (ulimit -c 0; exec qemu-aarch64 -cpu "$cpu" "$build/$program" "$@") >"$work/out" 2>&1
}

# level CPU FEATURES: the model has exactly these, and all tests pass on it
level() {
    run "$1" test_cpu --features || fail "test_cpu --features on $1"
    found=$(paste -s -d ' ' "$work/out")
    [ "$found" = "$2" ] || fail "$1 has the features '$found' instead of '$2'"
    for test in test_cpu test_matmul test_vector; do
        run "$1" $test --quick || fail "$test on $1, status $?"
        grep -q PASSED "$work/out" || fail "$test on $1 says nothing"
        echo "ok: $test on $1"
    done
}
level cortex-a53 'neon'
level neoverse-n1 'neon dotprod'
level max 'neon dotprod i8mm'

# traps CPU LEVEL: forced on a model without it, a level must trap
traps() {
    run "$1" test_matmul --quick "--force-$2"
    status=$?
    [ $status -eq 132 ] || grep -qi 'illegal instruction' "$work/out" ||
        fail "--force-$2 on $1 ended with $status instead of SIGILL"
    echo "ok: $2 traps on $1"
}
traps cortex-a53 dotprod
traps neoverse-n1 i8mm
