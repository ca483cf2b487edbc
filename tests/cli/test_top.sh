#!/bin/sh
# phlox top: one sample of a made-up machine as text and as JSON, what is missing, and wrong use. The view
# on a terminal is in test_top_terminal.c.
. "$(dirname "$0")/lib.sh"

# put FILE TEXT
put() {
    mkdir -p "machine/$(dirname "$1")"
    printf '%s\n' "$2" >"machine/$1"
}
npu=sys/class/accel/accel0/device
put proc/stat 'cpu  100 0 0 100 0 0 0 0 0 0
cpu0 100 0 0 100 0 0 0 0 0 0'
put proc/meminfo 'MemTotal:       8000000 kB
MemAvailable:   3000000 kB'
put proc/cpuinfo "$(printf 'model name\t: A \033[31mred\033[0m CPU')"
put sys/class/powercap/intel-rapl:0/name package-0
put sys/class/powercap/intel-rapl:0/energy_uj 5
put sys/class/powercap/intel-rapl:0/max_energy_range_uj 1000
put $npu/uevent 'DRIVER=intel_vpu
PCI_ID=8086:7D1D
PCI_SLOT_NAME=0000:00:0b.0'
put $npu/npu_current_frequency_mhz 1400
put $npu/npu_max_frequency_mhz 1950
put $npu/npu_memory_utilization 1234567890

# ---- one sample -------------------------------------------------------------------------------------

expect 0 top --json --interval 0.2 --root machine; is_quiet; read_json
has '.units[0].name' CPU; has '.units[0].kind' cpu; has '.units[0].scope' machine
has '.units[0].full_name' 'A ?[31mred?[0m CPU'
has '.units[0].memory_used_bytes' 5120000000; has '.units[0].memory_total_bytes' 8192000000
has '.units[0].watts' 0.0; has '.units[0].energy_in_cpu' false
has '.units[1].name' NPU; has '.units[1].pci' 0000:00:0b.0; has '.units[1].vendor' Intel
has '.units[1].clock_hz' 1400000000; has '.units[1].max_clock_hz' 1950000000
has '.units[1].memory_used_bytes' 1234567890
for absent in '[0].clock_hz' '[0].celsius' '[1].utilisation' '[1].watts' '[1].joules' '[1].memory_total_bytes' \
    '[2].name' '[0].asleep'; do
    grep -qF ".units$absent=" fields && fail "$absent is there"
done
case $(field '.units[1].absent') in *6.11*) ;; *) fail 'there is no reason' ;; esac

expect 0 top --once -i 0.1 --root machine
prints 'A ?[31mred?[0m CPU, 5.12 GB of 8.19 GB, 0.0 W' 'NPU' '0000:00:0b.0, 1.40 of 1.95 GHz, 1.23 GB in use'
says NPU 6.11
[ "$(wc -l <"$out")" = 2 ] || fail 'a unit is a line'
# Without a terminal it is --once.
cp "$out" once
expect 0 top -i 0.1 --root machine; same once "$out"

# A counter that goes on between the samples, whenever they are.
put $npu/npu_busy_time_us 0
while sleep 0.02; do
    n=$((${n:-0} + 1))
    echo $((n * 1000000)) >machine/$npu/new && mv machine/$npu/new machine/$npu/npu_busy_time_us
done 2>"$work/ignored" &
counting=$!
expect 0 top --json -i 0.3 --root machine; read_json
kill $counting
has '.units[1].utilisation' 1.0 # a million microseconds every fiftieth of a second

# ---- this machine -----------------------------------------------------------------------------------

if [ -e /proc/stat ]; then
    expect 0 top --json -i 0.2; read_json
    has '.units[0].name' CPU
    [ -n "$(field '.units[0].utilisation')" ] && [ -n "$(field '.units[0].cores[0]')" ] ||
        fail 'nothing is known of the CPU'
fi
expect 0 top --once -i 0.1 --root "$work"; [ -s "$out" ] && fail 'a unit where there is none'

# ---- wrong use --------------------------------------------------------------------------------------

for interval in '' 0 0.05 -1 x 1x 3601 1e3 nan .; do
    expect 2 top --once --interval "$interval"; says --interval
done
expect 1 top --once --root absent; says absent
expect 2 top extra
finish
