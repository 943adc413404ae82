#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Wrong usage exits 2 and says what was meant; help exits 0 and shows an example.
. "$(dirname "$0")/common.bash"

expect 2
says err "usage: gamut COMMAND"
expect 2 trian
says err "did you mean 'train'?"
expect 2 xyzzyx
says err "unknown command 'xyzzyx'"
expect 0 --version
says out "gamut "
expect 0 --help
for command in info space count data train eval calibrate bench serve replay; do
    says out "  $command "
done
for command in info space count data train eval calibrate bench serve replay; do
    expect 0 $command --help
    says out "usage: gamut $command"
    says out "example:"
    says out "--json"
    expect 2 $command --frobnicate
    says err "unknown option '--frobnicate'"
    says err "--help"
done
expect 2 count resnet-28 --choise max
says err "did you mean '--choice'?"
expect 2 count resnet-28
says err "--choice is missing"
expect 2 count resnet-28 --choice
says err "'--choice' needs a value"
expect 2 count resnet-28 extra --choice max
says err "unexpected argument 'extra'"
expect 2 count resnet-28 --choice max --resolution 0
says err "from 1 to 4096"
expect 2 info --threads 0
expect 2 info --threads two
expect 2 info --seed -1
expect 2 train
says err "the recipe is missing"
expect 2 train a.yaml b.yaml
expect 2 train a.yaml --resume --force
expect 2 eval
expect 2 eval m.safetensors --split tset
says err "neither val nor test"
expect 2 calibrate m.safetensors
says err "--choices is missing"
expect 2 bench ../bench_kernels

# What the command line cannot know is a failure, not a usage error.
expect 1 eval "$work/absent.safetensors"
says err "absent.safetensors"
expect 1 count mbv9 --choice max
says err "mbv3"
expect 1 count resnet-28 --choice d=9
says err "allowed"
expect 1 data cifar1o
says err "did you mean 'cifar10'?"
expect 1 bench nosuchbench
says err "nosuchbench"

# A full disk behind standard output is not success.
if [ -w /dev/full ]; then
    status=0
    "$GAMUT" space mbv3 >/dev/full 2>"$work/err" || status=$?
    [ $status = 1 ] || fail "writing to a full device: exit status $status"
    says err "cannot write to standard output"
fi
finish
