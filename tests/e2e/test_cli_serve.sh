#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gamut serve and gamut replay as a user runs them: start, load, dashboard, stop; usage. (tests/serve has the faults.)
. "$(dirname "$0")/common.bash"

expect 2 serve
says err "MODEL is missing"
expect 2 serve --stub m.safetensors
says err "--stub takes no MODEL"
expect 2 serve --stub --port 70000
expect 1 serve "$work/absent.safetensors"
says err "absent.safetensors"
expect 1 serve --stub --bind 0.0.0.0 --port 0
says err "--insecure"
expect 1 serve --stub --policy nosuchpolicy --port 0
says err "nosuchpolicy"
expect 2 replay
says err "--trace is missing"
expect 2 replay --trace poisson:1 --rate 1 --load 1
says err "exclude each other"
expect 2 replay --trace poisson:1 --encoding xml
expect 1 replay --trace poisson:1 --url ftp://localhost
says err "http://"
expect 1 replay --trace poisson:1 --url http://127.0.0.1:1
says err "127.0.0.1:1"

"$GAMUT" serve --stub --stub-speed 0 --port 0 --workers 2 --slo-ms 60000 >"$work/serve.out" 2>"$work/serve.err" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's|^dashboard: \(http://[^/]*\)/$|\1|p' "$work/serve.out")
    [ -n "$url" ] && break
    sleep 0.1
done
[ -n "$url" ] || fail "the server does not say where it is"
grep -q "curl -s" "$work/serve.out" || fail "no curl line to paste"

expect 0 replay --url "$url" --trace poisson:200 --duration 1 --slo-ms 60000 --json --out "$work/fates.jsonl"
one_line_of_json
has_keys sent met attainment accuracy_served accuracy_measured goodput_accuracy p50_ms p99_ms dropped
grep -q '"attainment":1\.0' "$work/out" || fail "not every request was met"
[ "$(wc -l <"$work/fates.jsonl")" -gt 100 ] || fail "too few lines of fates"
grep -q '"outcome":"met"' "$work/fates.jsonl" || fail "no fate is met"
expect 0 replay --url "$url" --trace bursty:50,100,4 --load 0.05 --duration 1 --encoding json
says out "attainment 1.0"

port=${url##*:}
ask() { # PATH: the answer, by bash alone
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    cat <&3
    exec 3>&-
}
ask / >"$work/out"
says out "<html"
ask /v2/gamut/status >"$work/out"
says out '"windows"'
ask /metrics >"$work/out"
says out 'gamut_queries_total{model="stub",outcome="met"}'

kill -TERM $server
wait $server || fail "the server ended with status $?"
says serve.err "stopping"

# A trained model: what the server answers is as accurate as evaluation says.
if [ -n "${MAKE_DATA:-}" ]; then
    "$MAKE_DATA" "$work/data" 40 10 12 || fail "make_data"
    tiny_recipe "$work/data" >"$work/tiny.yaml"
    expect 0 train "$work/tiny.yaml" --out "$work/run" --quiet
    model=$work/run/model.safetensors
    expect 1 serve "$model" --port 0
    says err "gamut profile"
    expect 0 profile "$model" --threads 1 --rounds 5 --batches 1,4 --quiet
    "$GAMUT" serve "$model" --port 0 --name tiny >"$work/serve.out" 2>"$work/serve.err" &
    server=$!
    url=
    for _ in $(seq 600); do
        url=$(sed -n 's|^dashboard: \(http://[^/]*\)/$|\1|p' "$work/serve.out")
        [ -n "$url" ] && break
        sleep 0.1
    done
    expect 0 replay --url "$url" --trace poisson:200 --duration 1 --data "folder:$work/data" --json
    says out '"attainment":1.0'
    grep -q '"accuracy_measured":null' "$work/out" && fail "labels were not compared"
    kill -TERM $server
    wait $server || fail "the server ended with status $?"
fi
finish
