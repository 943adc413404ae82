# SPDX-License-Identifier: Apache-2.0
# Shared by experiments/*/run: long trainings that may be interrupted at any time and are continued by the same command.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
gamut=${GAMUT:-build/release/gamut}
summarise=${SUMMARISE:-build/release/summarise}

say() { printf '==> %s\n' "$*"; }
fail() { printf '%s: %s\n' "$experiment" "$*" >&2; exit 1; }

absolute() { (cd "$called_from" && realpath -m -- "$1"); } # a folder as the caller meant it
whole_number() { [[ $2 =~ ^[1-9][0-9]?$ ]] || fail "$1 takes a whole number from 1 to 99, not '$2'"; }

need_tools() {
    [ -x "$gamut" ] && [ -x "$summarise" ] || fail "$gamut and $summarise are needed: ./run build makes them"
}

need_data() {
    local unpack=../shared/tools/unpack-data # packed image sets beside the repository, as ./run knows them
    "$gamut" data "$1" >/dev/null 2>&1 && return
    if [ -x "$unpack" ] && [ -z "${GAMUT_DATA:-}" ]; then
        say "expanding image sets into build/data"
        mkdir -p build/data
        "$unpack" build/data >build/data.log 2>&1 || fail "$unpack failed: see build/data.log"
    fi
    "$gamut" data "$1" >/dev/null 2>&1 || { "$gamut" data "$1" >&2 || true; fail "the data set $1 is needed"; }
}

# A folder holds the runs of one experiment: those of other settings would not be comparable.
open_folder() { # DIR SETTINGS
    mkdir -p "$1"
    if [ -e "$1/settings" ] && [ "$(cat "$1/settings")" != "$2" ]; then
        diff <(cat "$1/settings") <(printf '%s\n' "$2") >&2 || true
        fail "$1 holds runs of other settings: choose another --out, or remove it"
    fi
    printf '%s\n' "$2" >"$1/settings"
    "$gamut" info --json >"$1/machine.json"
}

finished() { # DIR
    [ -s "$1/model.safetensors" ] && [ ! -e "$1/state.safetensors" ] && tail -n 1 "$1/log.jsonl" | grep -q '"event":"end"'
}

# The training runs beside this shell, so that a signal to either ends both with the state saved.
child=
interrupted=
on_signal() {
    # Once: a second signal ends a training without its state.
    [ -n "$interrupted" ] || [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
    interrupted=yes
}
trap on_signal INT TERM

train() { # DIR ARGUMENT...
    local dir=$1 status=0
    shift
    if finished "$dir"; then
        say "$dir: done before"
        return
    fi
    if [ -e "$dir/state.safetensors" ]; then say "$dir: continued"; else say "$dir"; fi
    "$gamut" train "$@" --out "$dir" --resume </dev/null &
    child=$!
    while :; do # a signal ends wait, not the training
        status=0
        wait "$child" || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    child=
    if [ -n "$interrupted" ] && ! finished "$dir"; then
        say "stopped; the same command continues"
        exit 130
    fi
    [ "$status" = 0 ] || fail "training $dir failed (status $status)"
    [ -z "$interrupted" ] || exit 130
}
