#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A wrong recipe is refused before anything is written, with file, line and what is allowed.
. "$(dirname "$0")/common.bash"

refuse() { # LINE-OF-RECIPE... ; reads the expected texts from the variables line and text
    printf '%s\n' "$@" >"$work/r.yaml"
    expect 1 train "$work/r.yaml" --out "$work/run"
    says err "$work/r.yaml:$line:"
    says err "$text"
    [ ! -e "$work/run" ] || fail "a refused recipe left a folder behind"
}
line=2 text="unknown setting 'bach', did you mean 'batch'?"
refuse "lr: 0.1" "bach: 3"
line=3 text="unknown setting 'model.widht', did you mean 'width'?"
refuse "model:" "  classes: 10" "  widht: 3"
line=1 text="allowed: whole number 1 to 65536"
refuse "batch: many"
line=2 text="allowed: number 0 to 1000"
refuse "# a comment" "lr: -1"
line=1 text="allowed: plain, ofa, compofa, bignas, deps"
refuse "strategy: deeps"
line=1 text="resnet-28"
refuse "preset: resnet-99"
line=2 text="not YAML"
refuse "lr: 1" "	batch: 3"

expect 1 train "$work/absent.yaml"
says err "absent.yaml"
echo "lr: 0.1" >"$work/r.yaml"
expect 1 train "$work/r.yaml" --out "$work/run" --set lr=high
says err "--set lr=high: lr: 'high' is not allowed"
expect 1 train "$work/r.yaml" --out "$work/run" --set lr
says err "--set KEY=VALUE"
expect 1 train "$work/r.yaml" --out "$work/run" --set data=folder:/nonexistent
says err "/nonexistent"
expect 1 train "$work/r.yaml" --out "$work/run" --set data=nosuchset
says err "nosuchset"
finish
