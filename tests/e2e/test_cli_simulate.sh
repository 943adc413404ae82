#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gamut simulate: policies beside the oracle, the same numbers for the same seed, and errors that explain.
. "$(dirname "$0")/common.bash"
set -e

"$GAMUT" simulate --trace poisson:300 --duration 1 --seeds 2 --policy gamut,maxbatch,oracle --json >"$work/a.json"
"$GAMUT" simulate --trace poisson:300 --duration 1 --seeds 2 --policy gamut,maxbatch,oracle --json >"$work/b.json"
cmp "$work/a.json" "$work/b.json"
grep -q '"policy":"gamut"' "$work/a.json"
grep -q '"oracle":{"goodput_accuracy":' "$work/a.json"
"$GAMUT" simulate --trace bursty:100,200,4 --duration 1 --load 0.2 --policy slackfit --seeds 1 --fates "$work/fates.csv" \
    --intervals "$work/gaps.txt" >/dev/null
head -n 1 "$work/fates.csv" | grep -q '^arrival_us,deadline_us,answer_us,outcome,subnet,top1,batch$'
[ $(($(wc -l <"$work/gaps.txt") + 1)) -eq "$(wc -l <"$work/fates.csv")" ]
"$GAMUT" simulate --trace "$work/gaps.txt" --policy infaas --seeds 1 --json | grep -q '"accuracy_served":73.82'
status=0; "$GAMUT" simulate --policy gamut 2>"$work/err" || status=$?
[ $status -eq 2 ] && grep -q -- '--trace is missing' "$work/err"
status=0; "$GAMUT" simulate --trace poisson:10 --policy nope 2>"$work/err" || status=$?
[ $status -eq 1 ] && grep -q 'there is no policy' "$work/err"
status=0; "$GAMUT" simulate --trace "$work/none.csv" 2>"$work/err" || status=$?
[ $status -eq 1 ] && grep -q 'none.csv' "$work/err"
