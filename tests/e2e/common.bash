# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of this folder: $GAMUT is the command, $MAKE_DATA writes tiny data sets.
set -uo pipefail
: "${GAMUT:?set it to the gamut command}"
# In memory where there is such a folder: every checkpoint is synced, and a busy disk would make that slow.
place=${TMPDIR:-/tmp}
[ -w /dev/shm ] && place=/dev/shm
work=$(mktemp -d "$place/gamut-e2e-XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED (line ${BASH_LINENO[*]:0:2}): $*" >&2
    [ -s "$work/out" ] && sed 's/^/  out: /' "$work/out" | head -5 | cut -c 1-300 >&2
    [ -s "$work/err" ] && sed 's/^/  err: /' "$work/err" | head -5 | cut -c 1-300 >&2
    failures=$((failures + 1))
}

# expect STATUS ARGUMENT...: runs gamut; its output stays in $work/out and $work/err.
expect() {
    local wanted=$1 status=0
    shift
    "$GAMUT" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" = "$wanted" ] || fail "gamut $*: exit status $status, not $wanted"
}

# says FILE TEXT: that file of the last run holds the text.
says() { grep -qF -- "$2" "$work/$1" || fail "$1 does not say: $2"; }

# Every key is in the last line that went to standard output.
has_keys() {
    local key
    for key in "$@"; do
        tail -n 1 "$work/out" | grep -qF "\"$key\":" || fail "JSON without the key $key"
    done
}
one_line_of_json() {
    [ "$(wc -l <"$work/out")" = 1 ] || fail "not one line of JSON"
    case $(head -c 1 "$work/out") in '{' | '[') ;; *) fail "not JSON" ;; esac
}

finish() {
    [ "$failures" = 0 ] || exit 1
    exit 0
}

# A data set of 4 classes and a recipe that trains on it in about a second.
tiny_recipe() { # FOLDER
    cat <<YAML
preset: resnet-28
model: {width: 0.25, resolution: 12}
data: folder:$1
validation: 32
augment: {resolution: 12, crop_pad: 1}
strategy: deps
epochs: 4
batch: 16
lr: 0.05
warmup: 0.5
subnets: 3
calibrate_images: 64
eval_choices: [max, min, 'uniform:d=1,e=0.5']
checkpoint_seconds: 0
YAML
}
