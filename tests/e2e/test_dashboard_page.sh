#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The dashboard in a browser, over a status feed that a script stands in for: docs/http.md has its format.
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/browser.bash"

cat >"$work/feed.js" <<'JS'
const list = f => [...Array(90).keys()].map(f);
const status = {
  server: { name: 'gamut', version: '0.1.0', uptime_s: 91, time_unix_s: 1, ready: true, policy: 'slackfit', slo_ms: 36 },
  model: { name: 'a-model', preset: 'resnet-28', data: 'fashion-mnist', dtype: 'f32', classes: 10, input: [28, 28, 1], bytes: 1234567 },
  capacity: { smallest_qps: 5200, largest_qps: 810, largest_batch: 16, largest_batch_ms: 19.7 }, queue: { length: 3, limit: 4096 },
  workers: [{ index: 0, pid: 11, state: 'busy', batches: 5, restarts: 0 }, { index: 1, pid: 12, state: 'dead', batches: 5, restarts: 2 }],
  totals: { received: 1000, met: 990, late: 1, dropped: 7, rejected: 2, failed: 0, attainment: 0.99, accuracy_served: 91.2, goodput_accuracy: 90.3 },
  windows: [1, 10, 60].map(seconds => ({ seconds, rate_qps: 480, attainment: 1, accuracy_served: 91, goodput_accuracy: 91, p50_ms: null, p99_ms: 20.2, mean_batch: 5.2 })),
  subnets: [{ id: '77be5c9d2e0a1f34', choice: 'd=1,1 e=0.5', top1: 88.1, latency_ms: 1.2, count: 500, last_60: 120 },
    { id: '77be5c9d2e0a1f35', choice: 'd=2,2 e=1', top1: 91.1, latency_ms: 2.2, count: 0, last_60: 0 }],
  series: { step_s: 1, end_unix_s: 1, received: list(i => 20 + i % 7), met: list(i => 18 + i % 7), late: list(() => 1), dropped: list(() => 1), rejected: list(() => 0),
    failed: list(() => 0), accuracy: list(i => i % 5 ? 88 : null), queue: list(i => i % 4), p50_ms: list(() => 8), p99_ms: list(() => 20), batch: list(() => 4), workers: list(() => 2),
    subnets: { '77be5c9d2e0a1f34': list(i => 19 + i % 7) } } };
JS
answers() { printf 'window.fetch = async () => %s;\n' "$1"; }

"${PRINT_PAGE:?}" dashboard.html >"$work/page.html" || fail "no page"
(cat "$work/feed.js"; answers '({ status: 200, ok: true, json: async () => status })') >"$work/first.js"
with_check "$work/first.js" <"$work/page.html" >"$work/checked.html"
for scheme in light dark; do
    look checked.html $scheme
    every "canvases=5|blank=0|wide=0|over=0|unnamed=0|light=$([ $scheme = light ] && echo true || echo false)|fetched=0|tables=5"
    every "problems=\$"
done

# A server that has just started, one that asks for a key, and one that is gone: no chart, and no failure of the page.
young='(() => { for (const k in status.series) if (Array.isArray(status.series[k])) status.series[k] = []; status.series.subnets = {}; for (const w of status.windows) for (const k in w) if (k !== "seconds") w[k] = null; for (const k of ["attainment", "accuracy_served", "goodput_accuracy"]) status.totals[k] = null; return { status: 200, ok: true, json: async () => status }; })()'
for answer in "$young" '({ status: 401, ok: false })' 'Promise.reject(new TypeError("gone"))'; do
    (cat "$work/feed.js"; answers "$answer") >"$work/first.js"
    with_check "$work/first.js" <"$work/page.html" >"$work/checked.html"
    look checked.html light
    every "canvases=0|blank=0|wide=0|over=0"
    every "problems=\$"
done
finish
