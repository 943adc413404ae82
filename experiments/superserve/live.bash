# SPDX-License-Identifier: Apache-2.0
# Shared by experiments/superserve/{soak,kills}: a server, and a load that is replayed against it.
gamut=${GAMUT:-build/release/gamut}
load=0.7 slo=36 workers=1 trace=bursty:200,800,4 data=fashion-mnist

# Takes MODEL PROFILE and the options of both; what it does not know is left to `option NAME VALUE` of the caller.
read_arguments() {
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    model=$1 profile=$2
    shift 2
    while [ $# -gt 1 ]; do
        case $1 in
        --load) load=$2 ;;
        --slo-ms) slo=$2 ;;
        --workers) workers=$2 ;;
        --trace) trace=$2 ;;
        --data) data=$2 ;;
        --out) out=$2 ;;
        *) option "$1" "$2" || { usage >&2; exit 2; } ;;
        esac
        shift 2
    done
    [ $# = 0 ] || { usage >&2; exit 2; }
    mkdir -p "$out"
}

start_server() { # sets server and port
    "$gamut" serve "$model" --profile "$profile" --workers "$workers" --port 0 --slo-ms "$slo" >"$out/serve.log" 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    port=
    local i
    for ((i = 0; i < 300 && ${#port} == 0; i++)); do
        sleep 0.1
        port=$(sed -nE 's|^dashboard: http://127.0.0.1:([0-9]+)/$|\1|p' "$out/serve.log")
    done
    [ -n "$port" ] || { cat "$out/serve.log" >&2; exit 1; }
}

start_replay() { # SECONDS SEED: sets replay, whose result goes to $out/replay.json
    "$gamut" replay --url "http://127.0.0.1:$port" --trace "$trace" --load "$load" --slo-ms "$slo" --duration "$1" --seed "$2" \
        --data "$data" --json >"$out/replay.json" &
    replay=$!
}

stop_server() {
    kill -TERM "$server"
    wait "$server"
    trap - EXIT
}
