#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a trained model to a measured front and a profile: search, exhaustive search, comparison, profile, and what can go
# wrong.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }

"$MAKE_DATA" "$work/data" 40 10 12 || fail "make_data"
tiny_recipe "$work/data" >"$work/tiny.yaml"
model=$work/run/model.safetensors
one="--threads 1 --quiet" # tests share the processors
few="--samples 24 --sample-images 24 --sample-calibrate 16 --calibrate-images 32 --candidates 8"
expect 0 train "$work/tiny.yaml" --out "$work/run" --set epochs=1 $one

# A search: keys, a file, a calibrated front, and the same result for the same seed.
expect 0 search "$model" --objective macs $few --out "$work/a.json" --json $one
one_line_of_json
has_keys front evaluations seconds id choice top1 macs latency_ms predictor tau sampling settings seed model
[ -s "$work/a.json" ] || fail "no result was written"
grep -q '"evaluated"' "$work/a.json" || fail "the file lacks the evaluated subnets"
[ -s "$model.measured.json" ] || fail "measured subnets were not kept"
choice=$(grep -m 1 '"choice"' "$work/a.json" | sed 's/.*: "//; s/".*//')
expect 0 eval "$model" --choice "$choice" --json $one
expect 0 search "$model" --objective macs $few --out "$work/b.json" --json $one
says out '"measured":0'
for file in a b; do grep -E '"(id|top1|macs|predicted)"' "$work/$file.json" >"$work/$file.rows"; done
cmp "$work/a.rows" "$work/b.rows" || fail "the same seed found something else"
expect 0 search "$model" --objective macs $few --out "$work/c.json" --no-cache --seed 2 --json $one
says out '"seed":2'

# A constraint holds; an impossible one is an error that says what is possible.
expect 0 search "$model" --objective macs --max-macs 200e3 $few --out "$work/c.json" --json $one
for macs in $(grep -o '"macs":[0-9]*' "$work/out" | cut -d: -f2); do
    [ "$macs" -le 200000 ] || fail "a subnet of $macs MACs is above the limit"
done
expect 1 search "$model" --objective macs --max-macs 10 $few --out "$work/no.json" $one
says err "the smallest one costs"
expect 1 search "$model" --objective latency --max-latency-ms 1e-6 $few --out "$work/no.json" $one
says err "ms"
[ ! -e "$work/no.json" ] || fail "a failed search left a file"
expect 0 search "$model" --objective latency $few --out "$work/l.json" --json $one
says out '"operations":'
says out '"timed":true'

# The truth, and how far the front is from it.
expect 0 search "$model" --exhaustive --objective macs --max-macs 130e3 --calibrate-images 16 --out "$work/truth.json" --json $one
says out '"exhaustive":true'
expect 0 search "$model" --objective macs --max-macs 130e3 $few --compare "$work/truth.json" --out "$work/c.json" $one
says out "largest gap to"
expect 0 search "$model" --objective macs --max-macs 130e3 $few --compare "$work/truth.json" --out "$work/c.json" --json $one
says out '"points":'
expect 1 search "$model" --objective macs $few --compare "$work/tiny.yaml" --out "$work/c.json" $one
says err "tiny.yaml"

# Profile: of a front, of named ones, of all that are calibrated.
expect 0 profile "$model" --choices "$work/a.json" --rounds 5 --batches 1,3 --json $one
one_line_of_json
has_keys subnets id choice top1 macs latency_ms p50 p99 cpu threads dtype
says out '"3":{'
[ -s "$work/run/profile.json" ] || fail "no profile beside the model"
expect 0 profile "$model" --choices max min --rounds 5 --dtype bf16 --out "$work/p.json" $one
says out "p99"
says out "$work/p.json"
expect 0 profile "$model" --choices "$work/a.json" --rounds 5 --dtype int8 --out "$work/p8.json" --json $one
says out '"dtype":"int8"'
expect 0 profile "$model" --choices "$work/p.json" --rounds 5 --out "$work/p2.json" --json $one
expect 0 calibrate "$model" --choices "$work/a.json" --json $one
expect 1 profile "$model" --choices random:123 --rounds 5 $one
says err "gamut calibrate"
expect 2 profile "$model" --batches 2,4
says err "starts with 1"
expect 2 profile "$model" --dtype f64
says err "f64"
expect 1 profile "$work/tiny.yaml"
says err "tiny.yaml"
head -c 200 "$work/p.json" >"$work/cut.json"
expect 1 profile "$model" --choices "$work/cut.json" $one
says err "cut.json"

# Wrong usage.
expect 2 search "$model" --objective speed --out "$work/x.json"
says err "speed"
expect 2 search "$model" --objective macs --max-latency-ms 3 --out "$work/x.json"
says err "--objective latency"
expect 2 search "$model" --objective macs
says err "--out"
expect 1 search "$model" --objective macs $few --out "$work/none/x.json" $one
says err "none"

# A damaged file of measured subnets is named, not overwritten.
echo '{"format":' >"$model.measured.json"
expect 1 search "$model" --objective macs $few --out "$work/x.json" $one
says err "measured.json"
rm "$model.measured.json"

# Ctrl-C: what was measured is kept.
"$GAMUT" search "$model" --objective macs --samples 1500 --out "$work/i.json" $one >"$work/out" 2>"$work/err" &
pid=$!
sleep 0.5
kill -INT $pid
wait $pid
status=$?
if [ $status = 1 ]; then
    says err "interrupted"
    [ ! -e "$work/i.json" ] || fail "an interrupted search left a result"
elif [ $status != 0 ]; then
    fail "interrupted: exit status $status"
fi
find "$work/run" -type f | grep -vE '/(model\.safetensors|model\.safetensors\.measured\.json|recipe\.yaml|log\.jsonl|profile\.json)$' &&
    fail "left-overs"
finish
