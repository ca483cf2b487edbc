#!/bin/sh
# phlox runtime: what is installed is listed, in order, as text and as JSON; wrong names and addresses are
# said; an index of files is read without a connection.
. "$(dirname "$0")/lib.sh"
export XDG_DATA_HOME="$work/data" VIRTUAL_ENV="$work/venv"
unset CONDA_PREFIX PIP_INDEX_URL

python=$VIRTUAL_ENV/lib/python3.12/site-packages
mkdir -p "$python/openvino/libs" "$python/openvino-2025.3.0.dist-info" "$python/onnxruntime_genai"
: >"$python/openvino/libs/libopenvino_c.so.2530"
: >"$python/onnxruntime_genai/libonnxruntime-genai.so"
own=$XDG_DATA_HOME/phlox/runtimes/openvino
for version in 2026.4.1 2026.10.0; do
    mkdir -p "$own/$version"
    printf 12345 >"$own/$version/libopenvino_c.so.2641"
    echo '{}' >"$own/$version/runtime.json"
done

expect 0 runtime list openvino; is_quiet
prints '* openvino           2026.10.0  phlox'\''s folder, 8 bytes' "$own/2026.10.0/libopenvino_c.so.2641" \
    '  openvino           2026.4.1' '  openvino           2025.3.0   active Python environment'
[ "$(grep -c '^[*]' "$out")" = 1 ] || fail 'there is not one star'
expect 0 runtime list; prints '* onnxruntime-genai' 'no ONNX Runtime beside it'
expect 0 runtime list --json; read_json
has '[0].name' openvino; has '[0].version' 2026.10.0; has '[0].used' true; has '[0].bytes' 8
has '[1].used' false; has '[2].package' openvino; has '[2].bytes' ''
expect 1 runtime list tensorrt; says '"tensorrt" is no runtime'

expect 1 runtime rm openvino==2026.4; says 'openvino 2026.4 is not in'
expect 0 runtime rm openvino==2026.4.1; prints '1 removed'
[ ! -e "$own/2026.4.1" ] && [ -e "$own/2026.10.0" ] || fail 'another version went'
expect 0 runtime rm openvino; prints '1 removed'
[ -z "$(ls -A "$own")" ] || fail 'something is left'
[ -e "$python/openvino/libs/libopenvino_c.so.2530" ] || fail 'the Python environment was touched'
expect 1 runtime rm openvino; says 'phlox runtime add openvino installs it'

expect 1 runtime add tensorrt; says '"tensorrt" is no runtime' onnxruntime-genai-cuda
expect 2 runtime add openvino --version new; says '"new" is not a version'
expect 2 runtime add openvino==1.0 --version 2.0; says 'both version 1.0 and version 2.0'
expect 2 runtime add openvino --offline; says '--offline refuses the network' https://pypi.org/simple
expect 2 runtime add openvino --index-url gopher://host; says '"gopher://host" is no address'
PIP_INDEX_URL=https://user:secret@host.invalid/simple
export PIP_INDEX_URL
expect 2 runtime add openvino --offline; says 'https://***@host.invalid/simple'
mkdir -p index/openvino
echo '<a href="openvino-1.0-py3-none-win_amd64.whl#sha256=">x</a>' >index/openvino/index.html
expect 1 runtime add openvino --offline --index-url "file://$work/index"
grep -q -e 'needs libcurl' -e 'has no wheel for this machine' "$err" || fail 'the reason is another one'

# Without libcurl or libarchive (files of their names that are no libraries) the package is named.
mkdir broken
LD_LIBRARY_PATH=$work/broken
export LD_LIBRARY_PATH
: >broken/libarchive.so.13
expect 1 runtime add openvino --offline --index-url "file://$work/index"
says 'unpacking needs libarchive' 'apt install libarchive13'
: >broken/libcurl.so.4 # and what stands in for it
: >broken/libcurl-gnutls.so.4
expect 1 runtime add openvino --offline --index-url "file://$work/index"
says 'downloads need libcurl' 'apt install libcurl4'
unset LD_LIBRARY_PATH
finish
