#!/bin/sh
# No kernel executes an instruction that its features do not promise: under qemu-user an instruction
# that the CPU model lacks traps. Runs the kernel tests on a model with AVX2, on one without, and
# shows that the trap works by forcing kernels on models that cannot run them.
# Skipped where qemu-x86_64 is missing, on other machines, and for sanitizer builds (they do not run
# under qemu).
set -u

dir=${PHLOX_TESTS_DIR:?}/kernels
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1"; cat "$work/out"; exit 1; }

command -v qemu-x86_64 >/dev/null || skip "no qemu-x86_64"
case ${PHLOX_SANITIZE:-} in '' | OFF | NONE | none | off) ;; *) skip "sanitizer build" ;; esac
[ "$(uname -m)" = x86_64 ] || skip "not an x86-64 machine"

# run CPU PROGRAM ARGUMENTS...: output in $work/out, status as the shell sees it
run() {
    cpu=$1
    shift
    (ulimit -c 0; exec qemu-x86_64 -cpu "$cpu" "$@") >"$work/out" 2>&1
}

new=Haswell-noTSX old=Nehalem

run $new "$dir/test_cpu" --features || fail "test_cpu --features on $new"
grep -qx avx2 "$work/out" || fail "$new has no AVX2 in this qemu"
run $old "$dir/test_cpu" --features || fail "test_cpu --features on $old"
if grep -q . "$work/out"; then fail "$old shows features"; fi

for cpu in $new $old; do
    for test in test_cpu test_matmul test_vector; do
        run $cpu "$dir/$test" --quick || fail "$test on $cpu, status $?"
        grep -q 'PASSED' "$work/out" || fail "$test on $cpu says nothing"
        echo "ok: $test on $cpu"
    done
done

# traps CPU PROGRAM LEVEL: forced on a model without it, a level must trap
traps() {
    run "$1" "$dir/$2" --quick "--force-$3"
    status=$?
    [ $status -eq 132 ] || grep -qi 'illegal instruction' "$work/out" ||
        fail "$2 --force-$3 on $1 ended with $status instead of SIGILL"
    echo "ok: $2 traps on $1 when $3 is forced"
}
for test in test_matmul test_vector; do traps $old $test avx2; done
traps $new test_vector avx512
for level in avx-vnni avx512 avx512-vnni; do traps $new test_matmul $level; done
