#!/bin/sh
# phlox bench: the shapes of all outputs, counted bytes, comparing, charts, energy, errors. Never a time.
. "$(dirname "$0")/lib.sh"
need_built_in
quick='-r 2 --no-machine'

# is EXPRESSION: an awk expression over numbers that must hold.
is() { awk "BEGIN { exit !($1) }" || fail "not true: $1"; }
names() { sed -n 's/^\[[0-9]*\]\.test=//p' "$work/fields" | paste -sd, -; }

# ---- JSON -----------------------------------------------------------------------------------------------

expect 0 info built-in --json; read_json
kv=$(field .kv_bytes_per_token) weights=$(field .weight_bytes)
expect 0 bench built-in -p 8 -n 4 $quick --json; read_json; is_quiet
[ "$(names)" = pp8,tg4 ] || fail "the tests are $(names)"
for i in 0 1; do
    for key in tok_per_s stddev best median gb_per_s gmac_per_s bytes_per_token; do
        is "$(field "[$i].$key") >= 0 && \"$(field "[$i].$key")\" != \"\""
    done
    is "$(field "[$i].best") >= $(field "[$i].median") && $(field "[$i].tok_per_s") > 0"
    is "$(field "[$i].best") >= $(field "[$i].tok_per_s")"
    has "[$i].device" cpu; has "[$i].model" built-in; has "[$i].weights" bf16; has "[$i].repeats" 2
    for key in kernels threads cpu version date; do
        [ -n "$(field "[$i].$key")" ] || fail "there is no $key"
    done
    [ -e /proc/self/status ] && is "$(field "[$i].peak_rss_bytes") > $weights"
    grep -q -e percent -e joule fields && fail 'what was not measured is there'
done
cp "$out" first.json
# The embedding is lm_head: every step reads all weights, a prompt of 8 once.
has '[0].bytes_per_token' $((weights / 8 + kv))
has '[1].bytes_per_token' $((weights + kv * 5 / 2))

# Every combination, behind each depth; weights are read once for all sequences of a step.
expect 0 bench built-in -p 4,0,8 -n 2 -d 0,30 -b 1,3 -r 1 --no-machine --json; read_json
[ "$(names)" = 'pp4,pp8,tg2,pp4 b3,pp8 b3,tg2 b3,pp4@30,pp8@30,tg2@30,pp4@30 b3,pp8@30 b3,tg2@30 b3' ] ||
    fail "the tests are $(names)"
has '[5].bytes_per_token' $(((2 * (weights / 3) + 3 * kv + 1) / 2))
has '[8].bytes_per_token' $((weights + 30 * kv + kv * 3 / 2))
grep -q stddev fields && fail 'one repetition has a deviation'

# A sliding window bounds what a token reads: here 11 positions.
expect 0 info "$mini" --json; read_json; mini_kv=$(field .kv_bytes_per_token)
[ "$(field .sliding_window)" = 11 ] || fail 'the window is not 11'
expect 0 bench "$mini" -p 0 -n 1 -d 10,40,100 $quick --json; read_json
a=$(field '[0].bytes_per_token') b=$(field '[1].bytes_per_token') c=$(field '[2].bytes_per_token')
[ "$a" = "$b" ] && [ "$b" = "$c" ] || fail "the bytes behind a window are $a, $b, $c"
expect 0 bench "$mini" -p 0 -n 1 -d 0 $quick --json; read_json
[ "$((a - $(field '[0].bytes_per_token')))" = $((10 * mini_kv)) ] || fail 'ten positions more are not ten'

# The longrope boundary of 32 inside a test is said.
expect 0 bench "$family/phi4-mini" -p 0 -n 4 -d 30 $quick; says tg4@30 longrope
expect 0 bench "$family/phi4-mini" -p 0 -n 4 -d 20,40 $quick; is_quiet

# ---- tables and CSV -------------------------------------------------------------------------------------

expect 0 bench built-in -p 8 -n 4 -b 2 $quick; is_quiet
prints 'phlox 0.' 'built-in: bf16, cpu' 'tok/s' 'pp8 b2' 'tg4 b2'
[ "$(grep -c '^pp8 b2 ' "$out")" = 1 ] || fail 'there is not one row for pp8 b2'
expect 0 bench built-in -p 8 -n 4 $quick --markdown; is_quiet
grep '^|' "$out" | awk -F'|' 'NR == 1 { n = NF } NF != n || NF < 8 { exit 1 } END { exit NR != 4 }' ||
    fail 'the Markdown is no table of four lines'
expect 0 bench built-in -p 8 -n 4 $quick --csv --weight-format bf16,int4 --group-size 32 --sym; is_quiet
[ "$(wc -l <"$out")" = 5 ] || fail 'the CSV has not five lines'
prints '"int4 sym g32, embedding and lm_head int8"' '"bf16"'
awk '{ gsub(/"[^"]*"/, "text"); print }' "$out" |
    awk -F, 'NR == 1 { n = NF } NF != n { exit 1 }' || fail 'lines of the CSV have different lengths'
header=,$(head -n 1 "$out"),
for key in $(sed -n 's/^    "\([a-z0-9_]*\)":.*/\1/p' first.json | sort -u); do
    case $header in *,$key,*) ;; *) fail "the CSV has no $key" ;; esac
done

# ---- comparing ------------------------------------------------------------------------------------------

# old SPEED DEVIATION: first.json with these in every test.
old() {
    sed "s/\"tok_per_s\": .*/\"tok_per_s\": $1,/; s/\"stddev\": .*/\"stddev\": $2,/" first.json >old.json
}
compare() { expect 0 bench built-in -p 8 -n 4 $quick --compare old.json "$@"; }
old 1e12 0.0; compare --json; read_json; is_quiet
for i in 0 1; do
    has "[$i].differs" true; is "$(field "[$i].old_tok_per_s") == 1e12"
    is "$(field "[$i].ratio") > 0 && $(field "[$i].ratio") < 1e-3"
done
compare; prints ' *' 'twice the deviation' old ratio
compare --markdown; prints 'ratio |' ' * |'
compare --csv; prints ,true
old 1e12 1e12; compare --json; read_json; has '[0].differs' false; has '[1].differs' false
compare; grep -q '\*' "$out" && fail 'noise is marked'
# Without a deviation nothing can be said; another machine is said; other weights are not compared.
sed '/"stddev"/d' old.json >none.json && mv none.json old.json; compare --json; read_json
grep -q differs fields && fail 'differs without a deviation'
sed 's/"kernels": "[^"]*"/"kernels": "abacus"/; s/"threads": [0-9]*/"threads": 77/' first.json >old.json
compare; says 'kernels was "abacus"' 'threads were 77'
[ "$(wc -l <"$err")" = 2 ] || fail 'changes are not said once'
sed 's/"weights": "bf16"/"weights": "int2"/' first.json >old.json; compare --json; says 'none of these tests'
read_json; grep -q ratio fields && fail 'other weights are compared'
echo '[1, null, [], {}, {"test": 8}, {"test": "pp8", "weights": "bf16"}, {"test": "pp8", "weights": "bf16", "tok_per_s": "1"}]' >old.json
compare; says 'none of these tests'
echo '{"test": "pp8"}' >old.json; expect 1 bench built-in --compare old.json; says old.json array
echo '[{"test": ' >old.json; expect 1 bench built-in --compare old.json; says old.json line
: >old.json; expect 1 bench built-in --compare old.json; says old.json
expect 1 bench built-in --compare absent.json; says absent.json

# ---- charts ---------------------------------------------------------------------------------------------

# Several devices, each with its label.
expect 0 bench built-in -p 0 -n 4 -r 1 --no-machine --device cpu,cpu --device cpu --weight-format f16 --json --chart d.svg
read_json
[ "$(names)" = tg4,tg4,tg4 ] || fail "the tests are $(names)"
[ "$(grep -c '>cpu f16<' d.svg)" = 3 ] || fail 'a device is not in the chart'
expect 0 bench built-in -p 8 -n 4 -d 0,40 $quick --weight-format f16,int8 --weight-format int4 --asym \
    --chart chart.svg
[ "$(grep -c '^pp8 ' "$out")" = 3 ] || fail 'there are not three formats'
# Every element ends, and there are as many lines and bars as formats, with their names.
awk '{ text = text $0 "\n" }
    END {
        gsub(/<style>.*<\/style>/, "", text)
        while (match(text, /<[^>]*>/)) {
            tag = substr(text, RSTART + 1, RLENGTH - 2)
            text = substr(text, RSTART + RLENGTH)
            if (tag ~ /\/$/) continue
            name = tag
            sub(/ .*/, "", name)
            if (name ~ /^\//) { if (open[depth--] != substr(name, 2)) exit 1 } else open[++depth] = name
        }
        exit depth
    }' chart.svg || fail 'an element of the chart does not end'
head -n 1 chart.svg | grep -q '^<svg xmlns="http://www.w3.org/2000/svg"' || fail 'the chart is no SVG'
for i in 0 1 2; do
    [ "$(grep -c "class=\"line c$i\" d=\"[^\"]*L" chart.svg)" = 1 ] || fail "there is no line $i"
    [ "$(grep -c "<rect class=\"b$i\"" chart.svg)" = 1 ] || fail "there is no bar $i"
done
points=$(sed -n 's/.*class="line c0" d="\(M[^"]*L[^"]*\)".*/\1/p' chart.svg | tr -cd ML | wc -c)
[ "$points" = 8 ] || fail "the line has $points points, not 8"
for word in '>f16<' '>int8<' '>int4<' 'ms per token' 'position' 'Time to first token' 'prompt of 8 tokens' \
    'prefers-color-scheme: dark'; do
    grep -qF -e "$word" chart.svg || fail "the chart lacks $word"
done
ls | grep -q partial && fail 'a partial file is left'
cp -r "$mini" 'a<b&c>'
expect 0 bench 'a<b&c>' -p 0 -n 1 $quick --chart - --csv
prints 'a&lt;b&amp;c&gt;' '"a<b&c>"'
grep -q 'Time to first' "$out" && fail 'a first token without a prompt'
expect 1 bench built-in -p 8 -n 4 $quick --chart absent/chart.svg; says absent/chart.svg; prints pp8
expect 2 bench built-in -n 0 --chart chart.svg; says --chart '-n 0'

# ---- energy ---------------------------------------------------------------------------------------------

# Counters that stand still are no energy of 0; those that move give one.
zone=powercap/intel-rapl:0
mkdir -p $zone
echo package-0 >$zone/name; echo 1000 >$zone/max_energy_range_uj; echo 5 >$zone/energy_uj
expect 0 bench built-in -p 8 -n 4 $quick --powercap powercap --json; read_json
grep -q joule fields && fail 'standing counters are energy'
(
    joules=5
    while [ ! -e stop ]; do
        joules=$(((joules + 7) % 1000))
        echo $joules >$zone/next && mv $zone/next $zone/energy_uj
    done
) &
counting=$!
expect 0 bench built-in -p 64 -n 50 -r 20 --no-machine --powercap powercap --json; read_json
: >stop
wait $counting
for i in 0 1; do
    is "$(field "[$i].joules_per_token") > 0"
    is "$(field "[$i].joules_per_token") * $(field "[$i].tokens_per_joule") > 0.999"
done
expect 1 bench built-in --powercap absent; says absent 'intel-rapl'
echo much >$zone/energy_uj
expect 1 bench built-in --powercap powercap; says energy_uj

# ---- the machine ----------------------------------------------------------------------------------------

# A gigabyte is much for the sanitizers.
if [ -z "${PHLOX_SANITIZE:-}" ]; then
    expect 0 bench --machine; is_quiet
    prints 'phlox 0.' 'measured with' 'reading, 4 KB pages' 'reading, 2 MB pages' 'int8 multiply'
    if grep -q ' avx2 ' /proc/cpuinfo; then prints 'GMAC/s a core' '(av'; fi
    # Peaks of vector instructions that are hidden are left out.
    expect 0 bench --machine --threads 1 --cpu-mask 0xffff --json; read_json; is_quiet
    is "$(field .read_gb_per_s_4k) > 0 && $(field .cores) > 0"
    has .threads 1; has .int8_kernels ''
    grep -q gmac fields && fail 'there are peaks without instructions'
    expect 0 bench built-in -p 8 -n 4 -r 1; prints 'of 4k' %
fi

# ---- errors ---------------------------------------------------------------------------------------------

expect 2 bench; says MODEL
for list in '' x -1 1.5 1,,2 , 8, ,8 '1 2' 99999999999 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1; do
    for flag in --prompt --decode --depth --batch; do
        expect 2 bench built-in "$flag=$list"; says "$flag"
    done
done
expect 2 bench built-in -b 0; says --batch
expect 2 bench built-in -b 65; says 65 64
for repeats in '' 0 x 1,2 1001; do expect 2 bench built-in --repeats="$repeats"; says --repeats; done
expect 2 bench built-in -p 0 -n 0; says '-p 0'
expect 2 bench built-in --csv --json; says --csv --json
expect 2 bench built-in --machine; says --machine MODEL
for flag in --csv --markdown '-p 8' '-r 2' '--compare x' '--chart x' --no-machine; do
    expect 2 bench --machine $flag; says --machine
done
expect 2 bench built-in --weight-format int5; says int5
expect 2 bench built-in --device cpu,abacus; says abacus
# What was measured before a device failed is printed.
expect 1 bench built-in -p 0 -n 2 -r 1 --no-machine --json --device cpu,openvino:CPU --openvino-library /nowhere
says libopenvino_c; read_json; [ "$(names)" = tg2 ] || fail "the tests are $(names)"
expect 2 bench built-in --device cpu,; says device
expect 2 bench built-in --weight-format f16,int5; says int5
expect 2 bench built-in --weight-format f16,; says weight-format
expect 2 bench built-in --weight-format f16 --sym; says sym f16
expect 0 bench built-in -p 8 -n 0 -r 1 --no-machine --json --weight-format f16,int4 --group-size 32 \
    --quant-method search; read_json; is_quiet
has '[0].weights' f16
case $(field '[1].weights') in int4*search*) ;; *) fail "int4 by search is $(field '[1].weights')" ;; esac
expect 1 bench absent-model; says absent-model
expect 2 bench built-in -p 513 -n 0 $quick; says 512
expect 0 bench built-in -p 8,513 -n 4 -d 0,508,509 $quick --json; says pp513 pp8@508 tg4@509
read_json; [ "$(names)" = pp8,tg4,tg4@508 ] || fail "the tests are $(names)"

# ---- interruption ---------------------------------------------------------------------------------------

# An interrupted run prints nothing and draws nothing.
for arguments in '-p 0 -n 64 --chart late.svg' '-p 256 -n 0' '-p 256 -n 0 -b 4'; do
    last="phlox bench $arguments, SIGINT"
    "$program" bench built-in $arguments -r 1000 --no-machine >"$out" 2>"$err" </dev/null &
    child=$!
    sleep 0.3
    kill -INT $child 2>/dev/null
    wait $child
    code=$?
    case $code in
    130) [ ! -s "$out" ] && [ ! -e late.svg ] || fail 'an interrupted run has results' ;;
    0) [ -s "$out" ] || fail 'a whole run has no results' ;;
    *) fail 'exit code 130 is meant' ;;
    esac
done

finish
