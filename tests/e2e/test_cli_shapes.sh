#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# info, space, count, data: golden figures, and the JSON keys that programs rely on.
. "$(dirname "$0")/common.bash"

expect 0 info --json
one_line_of_json
has_keys version cpu threads data
expect 0 info --threads 1 --json
says out '"threads":1'
GAMUT_CPU=ref expect 0 info --json
says out '"cpu":"ref"'

expect 0 space --json
says out '"name":"mbv3-32"'
expect 0 space mbv3 --resolution 224 --json
one_line_of_json
has_keys knobs subnets name kind values
# (81 + 729 + 6561)^5: kernel and expand of every kept block, times the depths
says out '"subnets":"21758655492572485851"'
expect 0 space resnet-28
says out "subnets"

# Once-for-all MobileNetV3, kernel 7: multiply-accumulates and parameters in millions, published and derived figures
# that an independent reader computed from the released configurations.
count() { # FAMILY FLAGS CHOICE MACS PARAMS
    expect 0 count "$1" $2 --choice "$3" --json
    one_line_of_json
    has_keys macs params layers
    local macs params
    macs=$(grep -o '"macs":[0-9]*' "$work/out" | cut -d: -f2)
    params=$(grep -o '"params":[0-9]*' "$work/out" | cut -d: -f2)
    [ "$(awk "BEGIN{printf \"%.1f/%.2f\", $macs / 1e6, $params / 1e6}")" = "$4/$5" ] ||
        fail "$1 $3: $macs multiply-accumulates, $params parameters; not $4 M, $5 M"
}
imagenet="151.3/3.49 195.0/3.88 282.6/4.84 222.0/4.02 289.4/4.66 424.4/6.25 292.7/4.55 383.7/5.44 566.2/7.66"
cifar="45.1/2.23 58.7/2.61 86.2/3.57 68.3/2.76 89.7/3.39 132.9/4.98 91.5/3.29 120.8/4.17 179.7/6.40"
i=0
for d in 2 3 4; do
    for e in 3 4 6; do
        i=$((i + 1))
        pair=$(cut -d' ' -f$i <<<"$imagenet")
        count mbv3-w1.0 "--resolution 224" "uniform:d=$d,e=$e,k=7" "${pair%/*}" "${pair#*/}"
        pair=$(cut -d' ' -f$i <<<"$cifar")
        count mbv3-32 "" "uniform:d=$d,e=$e,k=7" "${pair%/*}" "${pair#*/}"
    done
done

# The full text form names the same subnet as the word it came from.
for family in mbv3-32 resnet50 resnet-28 resnet-32 proxyless; do
    expect 0 count $family --choice random:7 --json
    first=$(cat "$work/out")
    choice=$(grep -o '"choice":"[^"]*"' "$work/out" | cut -d'"' -f4)
    expect 0 count $family --choice "$choice" --json
    [ "$(cat "$work/out")" = "$first" ] || fail "$family: $choice is another subnet than random:7"
done

expect 0 data --json
one_line_of_json
has_keys name found path train test how_to_get
says out '"name":"fashion-mnist"'
expect 0 data

# The page of settings and the program agree.
expect 0 train --settings --json
one_line_of_json
for name in $(grep -o '"name":"[^"]*"' "$work/out" | cut -d'"' -f4); do
    grep -qF "\`$name\`" docs/recipes.md || fail "docs/recipes.md does not describe the setting $name"
done

# Every recipe of the examples is read (it may lack its data set, nothing else).
for recipe in examples/*.yaml; do
    expect 1 train "$recipe" --out "$work/none" --set data=folder:/nonexistent
    grep -q "nonexistent" "$work/err" || fail "$recipe: $(cat "$work/err")"
done
finish
