#!/bin/sh
# phlox verify and phlox advise: a device that is right, what is measured, what is advised, errors. Never a time.
. "$(dirname "$0")/lib.sh"
need_built_in
nothing='--openvino-library /nowhere --ort-library /nowhere'

expect 0 verify cpu; prints cpu right 'known answer'; is_quiet
expect 0 verify cpu --json; read_json
has '[0].device' cpu; has '[0].right' true; has '[0].kind' CPU; has '[0].problem' ''
for key in kl_nats logit_difference read_bytes_per_second layer_seconds prompt_weights_per_second; do
    [ -n "$(field "[0].$key")" ] || fail "there is no $key"
done
awk "BEGIN { exit !($(field '[0].kl_nats') <= 1e-6) }" || fail 'the known answer is not met'

# Every device of a machine that has no runtime is the native engine; what was measured is kept.
expect 0 verify $nothing --json; read_json
has '[0].device' cpu
[ -z "$(field '[1].device')" ] || fail 'there is a second device'
ls "$XDG_CACHE_HOME"/phlox/trials-*.phlox >/dev/null || fail 'the trials are not kept'
expect 0 advise built-in $nothing; prints '* cpu' 'default' '--weight-format int8' 'native engine'; is_quiet
expect 0 advise built-in $nothing --at 100 --json; read_json
has '.advice[0].device' cpu; has '.advice[0].best' true; has '.advice[0].fits' true
has '.advice[1].option' '--weight-format int8'; has '.advice[1].best' false
[ -n "$(field .reason)" ] || fail 'there is no reason'
# Integers stay what they are.
expect 0 advise "$source_dir/tests/golden/gguf/q4_0/model.gguf" $nothing --json; read_json
[ -z "$(field '.advice[1].device')" ] || fail 'another format is offered for integers'

# A device that is asked for and cannot be had is no success, and never another device.
expect 1 verify openvino:CPU --openvino-library /nowhere --json; read_json
has '[0].right' false; prints 'no libopenvino_c'; says '1 of 1'
expect 1 run --device ort:cpu --ort-library /nowhere hello; says 'no libonnxruntime-genai'
[ -s "$out" ] && fail 'something answers'
# Settings that would be ignored.
expect 2 run --device cpu --ov-config NUM_STREAMS=1 hello; says NUM_STREAMS=1 cpu
expect 2 run --device cpu --ort-config device_id=1 hello; says device_id=1
expect 2 run --device cpu --max-prompt-len 64 hello; says --max-prompt-len cpu
expect 2 run --device ort:cpu --ov-config NUM_STREAMS=1 hello; says NUM_STREAMS=1
expect 2 verify abacus; says abacus 'phlox devices'
expect 2 verify cpu cpu
expect 2 advise; says missing
expect 1 advise absent; says absent
expect 2 advise built-in --at x; says --at
finish
