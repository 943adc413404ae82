#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checkpoints by recipe and by hand: a killed run resumes bit for bit from its store, damage is told and passed over, a
# compressed model is evaluated and trained on directly.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }
RANDOM=${SEED:-1}

"$MAKE_DATA" "$work/data" 80 4 12 || fail "make_data"
{
    tiny_recipe "$work/data"
    echo "ema: 0.99"
    echo "checkpoint: {store: lossless, every: 0.25, keep: 3, full_every: 4}"
} | sed 's/^epochs:.*/epochs: 10/' >"$work/tiny.yaml"

# --- lossless: killed at random moments, the end has the bits of an undisturbed run
expect 0 train "$work/tiny.yaml" --set checkpoint.store=none --out "$work/plain" --quiet --threads 1
expect 0 train "$work/tiny.yaml" --out "$work/whole" --quiet --threads 1
cmp "$work/plain/model.safetensors" "$work/whole/model.safetensors" || fail "checkpoints changed the training"
expect 0 train "$work/tiny.yaml" --set checkpoint.restores=5 --set checkpoint.every=2 --out "$work/restored" --quiet --threads 1
cmp "$work/plain/model.safetensors" "$work/restored/model.safetensors" || fail "restores changed the training"
[ "$(grep -c '"event":"restore"' "$work/restored/log.jsonl")" = 5 ] || fail "not five restores"
# restores where a checkpoint is due anyhow: one of each step, epochs 2, 4, 6, 8 and 10
expect 0 train "$work/tiny.yaml" --set checkpoint.restores=4 --set checkpoint.every=2 --set checkpoint.keep=0 --out "$work/twice" --quiet --threads 1
[ "$(grep -c '"event":"restore"' "$work/twice/log.jsonl")" = 4 ] || fail "not four restores"
[ "$(find "$work/twice/checkpoints" -name '*.gmc' | wc -l)" = 5 ] || fail "a second checkpoint of a step"
kills=0
for attempt in $(seq 40); do
    "$GAMUT" train "$work/tiny.yaml" --out "$work/cut" --resume --quiet --threads 1 >"$work/out" 2>"$work/err" &
    pid=$!
    sleep "0.$((5 + RANDOM % 40))"
    kill -KILL $pid 2>/dev/null
    status=0
    wait $pid 2>/dev/null || status=$?
    [ $status = 137 ] && kills=$((kills + 1))
    [ $status = 0 ] && break
    [ $status = 0 ] || [ $status = 137 ] || { fail "a resumed run failed" && break; }
    [ $kills -lt 6 ] || break
done
if [ ! -e "$work/cut/model.safetensors" ] || [ -e "$work/cut/checkpoints/running" ]; then
    expect 0 train "$work/tiny.yaml" --out "$work/cut" --resume --quiet --threads 1
fi
echo "killed $kills times"
cmp "$work/whole/model.safetensors" "$work/cut/model.safetensors" || fail "the resumed run ended with other bits"
[ ! -e "$work/cut/state.safetensors" ] || fail "a state beside the store"
[ ! -e "$work/cut/checkpoints/running" ] || fail "a finished run still counts as unfinished"
expect 1 train "$work/tiny.yaml" --out "$work/cut" --resume --quiet
says err "finished run"

# --- list, inspect, verify, restore, prune
store=$work/whole/checkpoints
expect 0 checkpoint list "$store" --json
one_line_of_json
for key in number parent bytes ratio ratio_weights note problem; do grep -q "\"$key\":" "$work/out" || fail "no key $key"; done
expect 0 checkpoint verify "$store" --quiet
says out whole
expect 0 checkpoint inspect "$store" --json
has_keys number ratio ratio_weights parts note
newest=$(ls "$store"/*.gmc | tail -n 1)
expect 0 checkpoint restore "$store" --out "$work/state.safetensors" --json
has_keys bytes seconds mb_per_s ratio out
printf 'X' | dd of="$newest" bs=1 seek=200 conv=notrunc 2>/dev/null
expect 1 checkpoint verify "$store" --quiet
says out "fails its checksum"
expect 0 checkpoint restore "$store" --out "$work/older.safetensors"
says err "trying the one before"
cmp -s "$work/state.safetensors" "$work/older.safetensors" && fail "the damaged checkpoint was restored"
number=$((10#$(basename "$newest" .gmc)))
expect 1 checkpoint restore "$store" --number "$number" --out "$work/none.safetensors"
[ ! -e "$work/none.safetensors" ] || fail "a damaged checkpoint left a file"
expect 2 checkpoint prune "$store"
expect 0 checkpoint prune "$store" --keep-last 1 --damaged --json
has_keys removed bytes
[ ! -e "$newest" ] || fail "the damaged checkpoint is still there"
expect 0 checkpoint verify "$store" --quiet

# --- a model file, exact and quantized, read where a model file is read
model=$work/whole/model.safetensors
expect 0 checkpoint save "$model" --to "$work/whole/exact.gmc" --json
has_keys ratio ratio_weights bytes seconds mb_per_s top1_before top1_after
expect 0 checkpoint restore "$work/whole/exact.gmc" --out "$work/same.safetensors"
cmp "$model" "$work/same.safetensors" || fail "an exact checkpoint restored other bits"
expect 0 checkpoint save "$model" --to "$work/whole/small.gmc" --quantize --max-drop 0.05 --images 32 --json
has_keys ratio ratio_weights top1_before top1_after
grep -q '"top1_after":{"max":' "$work/out" || fail "no accuracy after"
for file in exact.gmc small.gmc; do
    expect 0 eval "$work/whole/$file" --choice max --choice min --json --quiet
    expect 0 info "$work/whole/$file" --json
done
# fine-tuning starts from it
expect 0 train "$work/tiny.yaml" --set epochs=0.5 --set "init=$work/whole/small.gmc" --set checkpoint.store=none \
    --out "$work/tuned" --quiet --threads 1
expect 1 train "$work/tiny.yaml" --set model.width=0.5 --set "init=$work/whole/small.gmc" --out "$work/other" --quiet
says err "another network"

# --- quantized by recipe, bounded on the largest and the smallest subnet, and resumed
expect 0 train "$work/tiny.yaml" --set epochs=2 --set checkpoint.store=quantized --set checkpoint.every=1 \
    --set checkpoint.images=32 --set checkpoint.max_drop=0.5 --set checkpoint.trials=4 --set checkpoint.optimizer=round \
    --set checkpoint.restores=2 \
    --out "$work/lossy" --quiet
expect 0 checkpoint verify "$work/lossy/checkpoints" --quiet
expect 0 checkpoint list "$work/lossy/checkpoints" --json
says out '"quantizer":'
grep -q '"figure":\[[^],]*,[^],]*\]' "$work/out" || fail "no figure of the largest and the smallest subnet"
expect 0 train "$work/tiny.yaml" --set epochs=1 --set checkpoint.store=quantized --set checkpoint.subnets=max \
    --set checkpoint.images=32 --set checkpoint.early_drop=5 --set checkpoint.trials=4 --out "$work/largest"
says err "checkpoints: training waited"
expect 0 checkpoint list "$work/largest/checkpoints" --json
grep -q '"figure":\[[^],]*\]' "$work/out" || fail "no figure of the largest subnet alone"

# --- wrong usage
expect 2 checkpoint
expect 2 checkpoint sav
says err "did you mean 'save'"
expect 2 checkpoint save "$model"
expect 2 checkpoint save "$model" --to "$work/x.gmc" --max-drop 0.1
expect 1 checkpoint list "$work/nowhere"
expect 0 checkpoint save --help
says out "example"
finish
