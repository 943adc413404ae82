#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# infer: pictures, images of a data set, a tensor file, each type; what is refused. calibrate: what is done is kept.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }
"$MAKE_DATA" "$work/set" 40 10 12 || fail "make_data"
tiny_recipe "$work/set" >"$work/tiny.yaml"
expect 0 train "$work/tiny.yaml" --out "$work/run" --set epochs=1 --quiet
model=$work/run/model.safetensors
picture=$(find "$work/set" -name '*.png' | sort | head -1)
[ -n "$picture" ] || fail "no picture in the set"

for type in f32 bf16 int8; do
    expect 0 infer "$model" --choice max --type $type --json --resize "$picture" "$picture"
    one_line_of_json
    has_keys input class probability
done
expect 0 infer "$model" --choice uniform:d=1,e=0.5 --resize "$picture" --top 2
says out "PROBABILITY"
expect 0 infer "$model" --choice min --data "folder:$work/set" --split test --resize 0 3 --json
has_keys label

# One picture alone answers as it does among twenty, with any threads.
few=$(for i in $(seq 20); do echo "$picture"; done)
expect 0 infer "$model" --choice max --resize --json --threads 1 "$picture"
alone=$(grep -o '"class".*' "$work/out" | tr -d ']')
# shellcheck disable=SC2086
expect 0 infer "$model" --choice max --resize --json --threads 3 $few
[ "$(grep -oF "${alone%\}}" "$work/out" | wc -l)" -ge 20 ] || fail "a picture in a batch answers otherwise"

expect 1 infer "$model" --choice random:5 --resize "$picture"
says err "gamut calibrate $model --choices 'random:5'"
expect 1 infer "$model" --choice max --resize "$work/tiny.yaml"
says err "neither PNG nor JPEG"
expect 1 infer "$model" --choice max "$model"
says err "needs a tensor 'input'"
expect 1 infer "$model" --choice max --data "folder:$work/set" --resize 999999
says err "not the number of an image"
head -c 3000 "$model" >"$work/cut.safetensors"
expect 1 infer "$work/cut.safetensors" --choice max --resize "$picture"
expect 2 infer "$model" "$picture"
expect 2 infer "$model" --choice max --split val "$picture"

# Calibrated subnets are kept; --again measures them once more.
expect 0 calibrate "$model" --choices max random:6 --json
has_keys entries calibrated kept shared stored bytes seconds
says out '"calibrated":1,"kept":1'
expect 0 calibrate "$model" --choices max random:6 --json
says out '"calibrated":0,"kept":2'
expect 0 calibrate "$model" --choices max random:6 --again --json
says out '"calibrated":2,"kept":0'
finish
