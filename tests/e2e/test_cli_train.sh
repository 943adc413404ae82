#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole way on a tiny data set: train, eval, calibrate, info; and what can go wrong with disks and files.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }

"$MAKE_DATA" "$work/data" 40 10 12 || fail "make_data"
tiny_recipe "$work/data" >"$work/tiny.yaml"
model=$work/run/model.safetensors
# One thread: tests share the processors, and threads that wait for each other would make this slow.
one="--threads 1"

expect 0 train "$work/tiny.yaml" --out "$work/run" --test --json --quiet $one
one_line_of_json
has_keys top1 max min macs_spent seconds images_per_second split choices val test
says out '"split":"test"'
[ ! -s "$work/err" ] || fail "--quiet was not quiet"
for file in model.safetensors recipe.yaml log.jsonl; do
    [ -s "$work/run/$file" ] || fail "the run left no $file"
done
[ ! -e "$work/run/state.safetensors" ] || fail "a finished run left its state"
trained=$(cat "$work/out")
top1=$(grep -o '"top1":{"max":[0-9.]*' <<<"$trained" | grep -o '[0-9.]*$')
awk "BEGIN{exit !($top1 > 60)}" || fail "the largest subnet learned nothing: $top1 % of 4 classes"

# The recipe of the run trains the same run again; the table is for people.
expect 0 train "$work/run/recipe.yaml" --out "$work/again" $one
says out "SUBNET"
says out "uniform:d=1,e=0.5"
cmp "$model" "$work/again/model.safetensors" || fail "the same recipe gave another model"
expect 0 train "$work/tiny.yaml" --out "$work/other" --seed 2 $one --json
cmp -s "$model" "$work/other/model.safetensors" && fail "another seed gave the same model"
expect 0 train "$work/tiny.yaml" --out "$work/two" --threads 2 --test --json
cmp "$model" "$work/two/model.safetensors" || fail "two threads gave another model"

# A run is not overwritten by accident.
expect 1 train "$work/tiny.yaml" --out "$work/run"
says err "--force"
expect 1 train "$work/tiny.yaml" --out "$work/run" --resume
says err "finished run"
expect 0 train "$work/tiny.yaml" --out "$work/again" --force --set epochs=1 $one
cmp -s "$model" "$work/again/model.safetensors" && fail "--set epochs=1 changed nothing"

expect 0 info "$model" --json
one_line_of_json
has_keys family space_size params norm_entries bytes
says out '"norm_entries":3'
expect 0 info "$model"
says out "3 subnets"

# eval agrees with what training reported.
expect 0 eval "$model" --data "$work/data" --split test --choice max --choice min --json $one
one_line_of_json
has_keys choice id top1 loss macs images
max=$(grep -o '"top1":[0-9.]*' "$work/out" | head -1 | cut -d: -f2)
[ "$max" = "$top1" ] || fail "eval says $max %, training said $top1 %"
expect 0 eval "$model" $one
says out "32 images"
expect 0 eval "$model" --choice uniform:d=1,e=0.25 --json $one
says out '"asked":"uniform:d=1,e=0.25"'
expect 1 eval "$model" --choice random:5
says err "gamut calibrate"
expect 1 eval "$model" --choice e=99
says err "allowed"

# calibrate makes the refused one runnable, and only adds.
expect 0 calibrate "$model" --choices random:5 min --json $one
one_line_of_json
has_keys entries shared bytes seconds
says out '"entries":4'
expect 0 eval "$model" --choice random:5 --json $one
expect 0 eval "$model" --data "$work/data" --split test --choice max --json $one
[ "$(grep -o '"top1":[0-9.]*' "$work/out" | cut -d: -f2)" = "$top1" ] || fail "calibrating others changed max"
printf '# a list\nrandom:6\n\nd=1,2,1\n' >"$work/list"
expect 0 calibrate "$model" --choices "$work/list" --json $one
says out '"entries":6'
printf 'max\nd=7\n' >"$work/list"
expect 1 calibrate "$model" --choices "$work/list"
says err "$work/list:2:"
expect 1 calibrate "$work/tiny.yaml" --choices max
says err "tiny.yaml"

# Folders that cannot be written, disks that fill up, files that were cut.
if [ "$(id -u)" != 0 ]; then
    mkdir "$work/locked" && chmod 555 "$work/locked"
    expect 1 train "$work/tiny.yaml" --out "$work/locked/run"
    says err "locked"
fi
: >"$work/file"
expect 1 train "$work/tiny.yaml" --out "$work/file/run"
says err "$work/file"
expect 1 train "$work/tiny.yaml" --out /proc/run
says err "/proc/run"

# A file size limit stands in for a full disk: the run fails with a clear error, and nothing half-written stays.
(
    trap '' XFSZ
    ulimit -f 16
    exec "$GAMUT" train "$work/tiny.yaml" --out "$work/full" --quiet $one
) >"$work/out" 2>"$work/err" && fail "a full disk was not noticed"
grep -qiE "large|space|limit" "$work/err" || fail "the full disk is not named: $(cat "$work/err")"
[ ! -e "$work/full/model.safetensors" ] || fail "a cut model file stayed"
expect 0 train "$work/tiny.yaml" --out "$work/full" --resume $one
cmp "$work/two/model.safetensors" "$work/full/model.safetensors" || fail "after the full disk: another model"
(
    trap '' XFSZ
    ulimit -f 16
    exec "$GAMUT" calibrate "$model" --choices random:9 --quiet $one
) >"$work/out" 2>"$work/err" && fail "a full disk was not noticed by calibrate"
expect 0 info "$model" --json
says out '"norm_entries":6'
find "$work/run" "$work/full" -type f | grep -vE '/(model|state)\.safetensors$|recipe\.yaml$|log\.jsonl$' &&
    fail "left-overs of interrupted writes"

# A diverging run ends with advice, and keeps its last good state.
expect 1 train "$work/tiny.yaml" --out "$work/nan" --set lr=1000 --set epochs=40 $one
says err "lower lr"
[ -s "$work/nan/state.safetensors" ] || fail "the diverged run kept no state"

# Ctrl-C: whole files, the command that continues, and then the same bits.
"$GAMUT" train "$work/tiny.yaml" --out "$work/ctrl" --set epochs=24 --quiet $one >"$work/out" 2>"$work/err" &
pid=$!
for _ in $(seq 500); do
    [ -s "$work/ctrl/state.safetensors" ] && break
    sleep 0.02
done
kill -INT $pid
wait $pid
status=$?
[ $status = 1 ] || fail "interrupted: exit status $status, not 1"
says err "gamut train --resume --out $work/ctrl"
expect 1 train "$work/tiny.yaml" --out "$work/ctrl" --set epochs=24
says err "unfinished run"
expect 1 train "$work/tiny.yaml" --out "$work/ctrl" --set epochs=24 --set lr=0.01 --resume
grep -q "^lr: 0.05" "$work/ctrl/recipe.yaml" || fail "a refused resume changed the recipe of the run"
expect 0 train --resume --out "$work/ctrl" $one
expect 0 train "$work/tiny.yaml" --out "$work/calm" --set epochs=24 $one
cmp "$work/calm/model.safetensors" "$work/ctrl/model.safetensors" || fail "the interrupted run ended with other bits"

size=$(stat -c %s "$model")
for keep in 0 7 100 $((size / 2)) $((size - 1)); do
    head -c "$keep" "$model" >"$work/cut.safetensors"
    expect 1 info "$work/cut.safetensors"
    says err "cut.safetensors"
done
image=$(find "$work/data/train/b" -name '*.png' | sort | head -1)
head -c 100 "$image" >"$work/cut.png" && mv "$work/cut.png" "$image"
expect 1 train "$work/tiny.yaml" --out "$work/cut" $one
says err "$image"
finish
