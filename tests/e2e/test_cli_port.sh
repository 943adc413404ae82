#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# export and import: a subnet out, the largest one in again with the same accuracy; what is refused, and how.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }
"$MAKE_DATA" "$work/set" 40 10 12 || fail "make_data"
tiny_recipe "$work/set" >"$work/tiny.yaml"
expect 0 train "$work/tiny.yaml" --out "$work/run" --set epochs=1 --quiet
model=$work/run/model.safetensors

expect 0 export "$model" --choice min --format safetensors --out "$work/min.st" --json
one_line_of_json
has_keys bytes params path format choice id
id=$(grep -o '"id":"[0-9a-f]*"' "$work/out" | cut -d'"' -f4)
expect 0 export "$model" --choice "$id" --out "$work/again.safetensors"
cmp -s "$work/min.st" "$work/again.safetensors" || fail "a subnet by its id is another file"

# ONNX, unless this build has none
"$GAMUT" export "$model" --choice max --out "$work/max.onnx" >"$work/out" 2>"$work/err"
case $? in
0)
    grep -qa "gamut.choice" "$work/max.onnx" || fail "no metadata in the ONNX file"
    grep -qa "BatchNormalization" "$work/max.onnx" && fail "norms are not folded"
    expect 0 export "$model" --choice max --no-fold --out "$work/plain.onnx"
    grep -qa "BatchNormalization" "$work/plain.onnx" || fail "--no-fold folds"
    ;;
*) says err "libonnx-dev" ;;
esac

# The largest subnet, exported, is a checkpoint in plain names: in again, it answers as before.
printf '%s\n' one two three four >"$work/names"
expect 0 export "$model" --choice max --labels "$work/names" --out "$work/max.safetensors"
grep -qa '"three\\"' "$work/max.safetensors" || fail "the classes are not in the metadata"
expect 0 import "$work/max.safetensors" --family resnet-28 --width 0.25 --resolution 12 --out "$work/run/in.safetensors" --json
one_line_of_json
has_keys tensors params family classes statistics transforms
says out '"statistics":true'
expect 0 eval "$model" --choice max --type f32 --json
grep -o '"top1".*' "$work/out" >"$work/before"
expect 0 eval "$work/run/in.safetensors" --choice max --type f32 --json
grep -o '"top1".*' "$work/out" | cmp -s - "$work/before" || fail "the imported model answers otherwise"

# One subnet of it is a checkpoint of its own.
expect 0 import "$work/min.st" --family resnet-28 --choice min --width 0.25 --resolution 12 --out "$work/run/min.safetensors"
says out "--choice"
expect 0 eval "$model" --choice min --type f32 --json
grep -o '"top1".*' "$work/out" >"$work/before"
expect 0 eval "$work/run/min.safetensors" --choice min --type f32 --json
grep -o '"top1".*' "$work/out" | cmp -s - "$work/before" || fail "the imported subnet answers otherwise"

# Refused, with what to do.
expect 1 export "$model" --choice random:5 --out "$work/no.onnx"
says err "gamut calibrate $model --choices 'random:5'"
[ ! -e "$work/no.onnx" ] || fail "a refused export leaves a file"
expect 1 export "$model" --choice 0123456789abcdef --out "$work/no.onnx"
says err "no calibrated subnet has the id"
expect 1 export "$model" --choice d=9 --out "$work/no.onnx"
expect 1 export "$model" --choice max --labels "$work/tiny.yaml" --out "$work/no.safetensors"
says err "the model has 4 classes"
expect 1 export "$work/tiny.yaml" --choice max --out "$work/no.onnx"
expect 1 export "$model" --choice max --out "$work/no such folder/x.safetensors"
expect 2 export "$model" --choice max --out "$work/no.txt"
expect 2 export "$model" --choice max
expect 2 export "$model" --out "$work/no.onnx"
expect 2 export "$model" --choice max --out "$model" --format onnx
expect 1 import "$work/max.safetensors" --family mbv3 --out "$work/no"
says err "are missing"
expect 1 import "$work/max.safetensors" --family resnet-28 --out "$work/no"
says err "another width?"
expect 1 import "$work/max.safetensors" --family mbv4 --out "$work/no"
says err "unknown family"
expect 1 import "$work/names" --family mbv3 --out "$work/no"
says err "not a file of torch.save"
expect 1 import fuzz/corpus/torch/module.pth --family mbv3 --out "$work/no"
says err "it is not run"
expect 1 import fuzz/corpus/torch/zip_ck.pth --family mbv3 --out "$work/no"
expect 2 import "$work/max.safetensors" --out "$work/no"
expect 2 import "$work/max.safetensors" --family mbv3
mkdir "$work/folder"
expect 1 import "$work/folder" --out "$work/no"
says err "net.config"
[ ! -e "$work/no" ] || fail "a refused import leaves a file"
finish
