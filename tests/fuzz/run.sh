#!/bin/sh
# Runs one libFuzzer target on a copy of its seeds: run.sh PROGRAM CORPUS SECONDS
# PHLOX_FUZZ_SECONDS in the environment overrides the time; an input that fails is kept beside the
# program and named in the output.
set -eu
program=$1
corpus=$2
seconds=${PHLOX_FUZZ_SECONDS:-$3}

set -- "$corpus"/*
[ -e "$1" ] || { echo "no seeds in $corpus"; exit 1; }

work=$program.corpus
mkdir -p "$work"
cp "$@" "$work"
exec "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$program.failed-" "$work"
