#!/bin/sh
# phlox devices and phlox doctor, on this machine and on recorded ones.
. "$(dirname "$0")/lib.sh"

# unpack NAME: a machine of tests/golden/hardware as the directory $root.
group=$(id -g)
[ "$group" != 0 ] || group=105
unpack() {
    root=$work/$1
    while read -r kind path rest; do
        mkdir -p "$root${path%/*}"
        case $kind in
        file) printf '%b' "$rest" | sed "s/@GID@/$group/" >"$root$path" ;;
        link) ln -s "$rest" "$root$path" ;;
        node) : >"$root$path"; chgrp "$group" "$root$path"; chmod "$rest" "$root$path" ;;
        esac
    done <"$source_dir/tests/golden/hardware/$1.tree"
}
# way TITLE FIELD: of the runtime of that title, in the unit of the JSON that `at` says
at=
way() {
    awk -v unit="$at.runtimes" -v title="$1" -v name="$2" '
        index($0, unit) == 1 {
            split($0, parts, "=")
            if (parts[1] ~ /\.title$/ && parts[2] == title) found = substr(parts[1], 1, length(parts[1]) - 6)
            if (found != "" && index($0, found "." name "=") == 1) print substr($0, length(found name) + 3)
        }' "$work/fields"
}
# unit KIND: makes `at` the last unit of the kind in the JSON
unit() {
    at=$(sed -n "s/^\(\.units\[[0-9]*\]\)\.kind=$1\$/\1/p" "$work/fields" | tail -n 1)
    [ -n "$at" ] || fail "there is no $1"
}

# ---- this machine -------------------------------------------------------------------------------------

expect 0 devices; is_quiet; prints 'CPU  ' 'ok   native engine: --device cpu'
expect 0 devices --json; is_quiet; read_json
has '.units[0].kind' CPU
has '.units[0].device' cpu
has '.units[0].runtimes[0].usable' true
expect 2 devices extra; says extra
expect 2 devices --root absent; says absent
expect 0 doctor; is_quiet
prints 'version: ' 'kernel: ' 'features: ' 'memory: ' 'supply: ' 'weight-format: default' 'TERM: '
expect 0 doctor --json; is_quiet; read_json
has .runs true
has '.checks[0].section' phlox
has '.checks[0].name' version
expect 2 doctor --root absent; says absent
expect 2 doctor --threads 0; says threads

# A library that is named and is none.
expect 0 devices --openvino-library nowhere --ort-library nowhere
prints 'OpenVINO does not work: ' 'ONNX Runtime GenAI does not work: ' nowhere
prints '-> leave out --openvino-library, or name another' '-> leave out --ort-library, or name another'
grep -q 'runtime rm' "$out" && fail 'what was not installed is to be removed'
expect 0 doctor --openvino-library nowhere
prints 'problem OpenVINO: nowhere: ' '-> leave out --openvino-library, or name another'
# One in phlox's folder, and one elsewhere.
own=data/phlox/runtimes/openvino/2026.4.1 python=venv/lib/python3.12/site-packages/openvino/libs
mkdir -p "$own" "$python"
: >"$own/libopenvino_c.so.2641"
echo '{}' >"$own/runtime.json"
XDG_DATA_HOME=$work/data expect 0 devices
prints '-> phlox runtime rm openvino; phlox runtime add openvino'
XDG_DATA_HOME=$work/data expect 0 doctor
prints '-> phlox runtime rm openvino; phlox runtime add openvino'
: >"$python/libopenvino_c.so.2641"
VIRTUAL_ENV=$work/venv expect 0 devices
prints '-> phlox runtime add openvino'
grep -q 'runtime rm openvino' "$out" && fail 'what is not in the folder of phlox is to be removed'
if [ -n "${PHLOX_TEST_OPENVINO:-}" ]; then
    expect 0 devices --openvino-library "$PHLOX_TEST_OPENVINO"; prints 'ok   OpenVINO: --device openvino:CPU'
fi

# Every option of the model, and where it came from.
expect 0 doctor --threads 2 --ov-config PERFORMANCE_HINT=LATENCY --ov-config NUM_STREAMS=1 --no-cache
prints 'threads: 2 (command line)' 'ov-config: PERFORMANCE_HINT=LATENCY NUM_STREAMS=1 (command line)' \
    'no-cache: on (command line)' 'kv-cache: default' 'directory: none: --no-cache'
"$program" help info | sed -n '/^Model$/,$p' | grep -o '^ *--[a-z-]*' | sed 's/ *--//' | while read -r option; do
    grep -q "^  ok      $option: " "$out" || echo "$option"
done >missing
[ ! -s missing ] || fail "options that doctor does not show: $(tr '\n' ' ' <missing)"

expect 2 doctor --device nonsense; says nonsense

# What may be shown to others.
export PIP_INDEX_URL='https://ada:secret@index.example/simple' LD_LIBRARY_PATH="$HOME/lib"
expect 0 doctor; prints 'PIP_INDEX_URL: https://***@index.example/simple' 'LD_LIBRARY_PATH: ~/lib'
grep -q -e secret -e "$HOME" "$out" && fail 'something private is shown'
unset PIP_INDEX_URL LD_LIBRARY_PATH
expect 0 doctor; prints 'locale: C' 'export LC_ALL=C.UTF-8'
LC_ALL=en_US.UTF-8 expect 0 doctor; prints 'ok      locale: en_US.UTF-8'
(unset HOME XDG_CACHE_HOME LC_ALL; env -i "$program" doctor) >"$out" 2>"$err"
code=$? last='env -i phlox doctor'
[ "$code" = 0 ] || fail 'exit code 0 is meant'
prints 'neither HOME nor XDG_CACHE_HOME'

# The cache.
expect 0 doctor --cache-dir nowhere/yet --cache-limit 20G; prints 'nowhere/yet (not made yet)' '21.47 GB'
echo x >file
expect 0 doctor --cache-dir file/below; prints 'problem ' 'file/below'
if [ "$(id -u)" != 0 ]; then
    mkdir locked; chmod 500 locked
    expect 0 doctor --cache-dir locked; prints 'problem ' 'you may not write there'
fi

# ---- recorded machines --------------------------------------------------------------------------------

unpack meteor-lake
expect 0 devices --root "$root" --json; read_json
has '.units[0].name' 'Intel(R) Core(TM) Ultra 7 155H'
has '.units[0].cores' 16
has '.units[0].features[0]' avx2
unit GPU; has "$at.driver" i915; has "$at.memory_bytes" 0
unit NPU
has "$at.name" 'Meteor Lake NPU'
has "$at.driver" intel_vpu
has "$at.pci" 0000:00:0b.0
has "$at.may_open" true
[ "$(way OpenVINO device)" = openvino:NPU ] || fail 'OpenVINO does not drive the NPU as openvino:NPU'
[ "$(way OpenVINO usable)" = true ] || fail 'the NPU is not usable'
has "$at.device" openvino:NPU
expect 0 doctor --root "$root" --device npu; prints 'ok      NPU: Meteor Lake NPU: usable as openvino:NPU'
expect 0 devices --root "$root"
prints 'CPU  Intel(R) Core(TM) Ultra 7 155H' 'cores   16, hardware threads 22' 'has     avx2 avx-vnni' \
    'GPU  Meteor Lake-P [Intel Arc Graphics]' 'NPU  Meteor Lake NPU' \
    'driver  intel_vpu 6.8.0-45-generic, /dev/accel/accel0, PCI 0000:00:0b.0'
expect 0 doctor --root "$root"
prints 'Ubuntu 24.04.1 LTS' 'LENOVO 21KC' 'battery, at 71 %' 'profile of the platform: balanced' \
    'preference: balance_performance' 'driver: intel_vpu' 'no virtual machine or container'

unpack meteor-lake-old-kernel
expect 0 devices --root "$root"
prints 'Linux 6.2.0-39-generic has no driver intel_vpu for Meteor Lake NPU; it came with Linux 6.3' \
    '-> sudo apt install linux-generic-hwe-$('
# Asked for by name, it is a problem and not a note.
phlox doctor --root "$root" --device npu
[ "$code" = 1 ] || fail 'exit code 1 is meant'
prints 'problem NPU: Meteor Lake NPU, asked for as openvino:NPU: Linux 6.2.0' 'Nothing runs'
phlox doctor --root "$root" --device npu --json; read_json
[ "$code" = 1 ] || fail 'exit code 1 is meant'
has .runs false
has .verdict problem
expect 0 doctor --root "$root" --device cpu
phlox doctor --root "$root" --device openvino:GPU.7
[ "$code" = 1 ] || fail 'exit code 1 is meant'
prints 'problem device: openvino:GPU.7 is none of' 'Nothing runs'
unpack meteor-lake-container
expect 0 devices --root "$root"; prints 'start the container with --device /dev/accel' 'in a container (docker)'
unpack ryzen-7840u
expect 0 devices --root "$root"; prints 'RyzenAI-npu1, XDNA 1' 'runtimes run language models on XDNA 2' '536.87 MB, and 16.11 GB'
unpack nvidia-no-driver
expect 0 devices --root "$root"; prints 'GPU  AD102 [GeForce RTX 4090]' 'driver  none, PCI 0000:01:00.0' \
    'sudo apt install nvidia-driver' 'at least 8.59 GB (what the bus shows of it)'
# Of two GPUs that an option means one has to work.
unpack nvidia
mkdir -p "$root/usr/lib/x86_64-linux-gnu"; : >"$root/usr/lib/x86_64-linux-gnu/libonnxruntime-genai.so"
cp -R "$root/sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0" "$root/sys/bus/pci/devices/0000:02:00.0"
mkdir "$root/proc/driver/nvidia/gpus/0000:02:00.0"
printf 'Model: \t NVIDIA T4\nDevice Minor: \t 1\n' >"$root/proc/driver/nvidia/gpus/0000:02:00.0/information"
expect 0 doctor --root "$root" --device cuda
prints 'ok      GPU: NVIDIA GeForce RTX 4090: usable as ort:cuda' 'note    GPU: NVIDIA T4: /dev/nvidia1 is not there'
rm "$root/dev/nvidia0"
phlox doctor --root "$root" --device cuda
[ "$code" = 1 ] || fail 'exit code 1 is meant'
prints 'problem GPU: NVIDIA GeForce RTX 4090, asked for as ort:cuda' 'problem GPU: NVIDIA T4, asked for as ort:cuda'
# An NPU that is not there, and one that other devices play.
phlox doctor --root "$root" --device npu
[ "$code" = 1 ] || fail 'exit code 1 is meant'
prints 'problem device: openvino:NPU is none of'
expect 0 doctor --root "$root" --device npu --ov-config NPUW_DEVICES=CPU
prints 'ok      device: openvino:NPU, played by what --ov-config NPUW_DEVICES names'
unpack wsl2
expect 0 devices --root "$root"; prints 'GPU of the Windows host' 'no NPU'
expect 0 doctor --root "$root"; prints 'inside: Windows Subsystem for Linux'
unpack virtual
expect 0 doctor --root "$root"; prints 'inside: virtual machine'
# A machine with nothing.
mkdir nothing
expect 0 devices --root nothing; prints 'CPU  unknown' 'ok   native engine'
expect 0 doctor --root nothing; prints 'kernel: unknown' 'supply: unknown'

finish
