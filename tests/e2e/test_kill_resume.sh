#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGKILL in mid-epoch, 20 times at random moments, --resume each time: the model is that of an undisturbed run, bit
# for bit.
. "$(dirname "$0")/common.bash"
[ -n "${MAKE_DATA:-}" ] || { echo "skipped: needs make_data (built where libpng is)"; exit 0; }
KILLS=${KILLS:-20}
RANDOM=${SEED:-1}
echo "kills $KILLS, seed ${SEED:-1}"

"$MAKE_DATA" "$work/data" 80 4 12 || fail "make_data"
{
    tiny_recipe "$work/data"
    echo "eval_every: 5"
    echo "ema: 0.99"
} | sed 's/^epochs:.*/epochs: 24/; s/^checkpoint_seconds:.*/checkpoint_seconds: 0.02/' >"$work/tiny.yaml"

begin=$(date +%s%N)
expect 0 train "$work/tiny.yaml" --out "$work/whole" --quiet --threads 1
whole=$((($(date +%s%N) - begin) / 1000000))
echo "undisturbed: $whole ms"

# What a killed run must leave in the end.
check_ended() {
    cmp "$work/whole/model.safetensors" "$work/cut/model.safetensors" || fail "the resumed run ended with other bits"
    find "$work/cut" -type f | grep -vE '/(model\.safetensors|recipe\.yaml|log\.jsonl)$' && fail "left-overs"
    # The log tells of every epoch once.
    [ "$(grep -c '"event":"epoch"' "$work/cut/log.jsonl")" = 24 ] ||
        fail "the log has $(grep -c '"event":"epoch"' "$work/cut/log.jsonl") epochs, not 24"
}

kills=0
attempts=0
ended=0
while [ $kills -lt "$KILLS" ] && [ $attempts -lt 200 ]; do
    attempts=$((attempts + 1))
    if [ -e "$work/cut/model.safetensors" ] && [ ! -e "$work/cut/state.safetensors" ]; then # done: once more
        check_ended
        ended=$((ended + 1))
        rm -rf "$work/cut"
    fi
    "$GAMUT" train "$work/tiny.yaml" --out "$work/cut" --resume --quiet --threads 1 >"$work/out" 2>"$work/err" &
    pid=$!
    # One thread: tests share the processors, and threads that wait for each other would make this slow.
    # A random moment; how far a run gets by then depends on the machine.
    sleep "$(awk "BEGIN{print (40 + $RANDOM % (10 + $whole / 16)) / 1000}")"
    kill -KILL $pid 2>/dev/null
    status=0
    wait $pid 2>/dev/null || status=$?
    case $status in
    137) kills=$((kills + 1)) ;;
    0) ;;
    *) fail "a resumed run failed" && break ;;
    esac
done
if [ ! -e "$work/cut/model.safetensors" ] || [ -e "$work/cut/state.safetensors" ]; then
    expect 0 train "$work/tiny.yaml" --out "$work/cut" --resume --quiet --threads 1
fi
check_ended
echo "killed $kills times in $((ended + 1)) runs"
[ $kills -ge "$KILLS" ] || fail "only $kills kills in $attempts attempts: lengthen the run"
finish
