#!/bin/sh
# phlox run --stats: the table, the same as JSON, and what silences it.
. "$(dirname "$0")/lib.sh"
need_built_in
question='Can you introduce yourself?'
short='--device cpu --max-new-tokens 12'
number='[0-9][0-9.]*'

expect 0 run $short "$question"; cp "$out" answer
expect 0 run $short --stats "$question"; same answer "$out"
says 'context ' 'built-in, '
for line in 'device       cpu.*, [0-9]+ threads' "prefill      [0-9]+ tokens, $number tok/s" \
    "decode       11 tokens, $number tok/s" "first token  after $number ms" "peak memory  $number [kMG]B"; do
    grep -qE "^$line\$" "$err" || fail "there is no line: $line"
done
grep -q 'prefill.*|' "$err" && fail 'the line of statistics is there as well'
if [ -e /proc/stat ]; then
    grep -qE "^CPU          ($number % busy|$number [kMG]B of )" "$err" || fail 'nothing is said of the CPU'
fi
[ -d /sys/class/powercap/intel-rapl:0 ] || ! grep -q '^energy .*CPU' "$err" || fail 'energy from nowhere'

expect 0 run $short -q --stats "$question"; same answer "$out"; is_quiet
expect 0 run $short --stats --json "$question"; is_quiet; read_json
awk "BEGIN { exit !($(field .statistics.first_token_seconds) > 0 && $(field .statistics.measured_seconds) > 0) }" ||
    fail 'times are missing'
if [ -e /proc/stat ]; then has '.statistics.units[0].name' CPU; has '.statistics.units[0].kind' cpu; fi
# Without --stats nothing is measured.
expect 0 run $short --json "$question"; read_json
grep -qF .statistics.units fields && fail 'units are measured unasked'
[ -n "$(field .statistics.first_token_seconds)" ] || fail 'the time to the first token is missing'
finish
