#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page of `gamut report` in a browser: every chart is drawn, nothing overflows, nothing is fetched, nothing fails; wide and
# narrow, light and dark. (14 charts; the table of one stands below it for all to see.)
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/browser.bash"

mkdir -p "$work/run"
awk 'BEGIN {
    for (e = 1; e <= 6; e++) {
        printf "{\"event\":\"epoch\",\"epoch\":%d,\"step\":%d,\"loss\":%.3f,\"accuracy\":%.1f,\"lr\":%.4f,\"macs_spent\":1e12,\"images_per_second\":900,\"seconds\":%d}\n", e, e * 10, 2 / e, 100 - 60 / e, 0.1 / e, e * 9
        for (c = 1; c <= 3; c++)
            printf "{\"event\":\"eval\",\"step\":%d,\"epoch\":%d,\"split\":\"val\",\"choice\":\"uniform:d=%d\",\"top1\":%.2f,\"loss\":1,\"macs\":%d}\n", e * 10, e, c, 95 - (40 - 10 * c) / e, 1e6 * c
    }
}' >"$work/run/log.jsonl"
printf 'preset: resnet-28\nstrategy: deps\nepochs: 6\n' >"$work/run/recipe.yaml"
awk 'BEGIN {
    printf "{\"objective\":\"latency\",\"evaluations\":80,\"seconds\":9,\"front\":["
    for (i = 1; i <= 4; i++) printf "%s{\"id\":\"00000000000000a%d\",\"choice\":\"d=%d\",\"top1\":%.1f,\"macs\":%d,\"latency_ms\":%.2f}", (i > 1 ? "," : ""), i, i, 80 + 3 * i, 1e6 * i, 0.2 * i
    printf "],\"evaluated\":["
    for (i = 0; i < 80; i++) printf "%s{\"choice\":\"random:%d\",\"top1\":%.2f,\"macs\":%d,\"latency_ms\":%.3f,\"predicted\":%.1f}", (i > 0 ? "," : ""), i, 78 + i / 8, 1e6 + 4e4 * i, 0.3 + i / 100, 78 + i / 8
    print "]}"
}' >"$work/run/pareto.json"
awk 'BEGIN {
    printf "{\"dtype\":\"f32\",\"threads\":1,\"subnets\":["
    for (i = 1; i <= 4; i++) {
        printf "%s{\"id\":\"00000000000000a%d\",\"choice\":\"d=%d\",\"top1\":%.1f,\"macs\":%d,\"latency_ms\":{", (i > 1 ? "," : ""), i, i, 80 + 3 * i, 1e6 * i
        for (b = 1; b <= 16; b *= 2) printf "%s\"%d\":{\"p50\":%.2f,\"p99\":%.2f}", (b > 1 ? "," : ""), b, 0.2 * i * b, 0.3 * i * b
        printf "}}"
    }
    print "]}"
}' >"$work/run/profile.json"
awk 'BEGIN {
    for (i = 0; i < 800; i++) {
        s = int(2 + 2 * sin(i / 60)) % 4 + 1
        o = i % 97 == 0 ? "dropped" : i % 41 == 0 ? "late" : "met"
        if (o == "dropped") printf "{\"due_s\":%.3f,\"outcome\":\"%s\",\"subnet\":null,\"batch\":-1,\"latency_ms\":null,\"accuracy\":null}\n", i / 80, o
        else printf "{\"due_s\":%.3f,\"outcome\":\"%s\",\"subnet\":\"00000000000000a%d\",\"batch\":4,\"latency_ms\":%.1f,\"accuracy\":%.1f,\"answer\":1,\"label\":1}\n", i / 80, o, s, o == "late" ? 50 : 20 + i % 9, 80 + 3 * s
    }
}' >"$work/run/replay.jsonl"
echo '{"policy":"gamut","trace":"bursty:40,40,4","slo_ms":36,"sent":800,"met":773,"late":18,"dropped":9,"attainment":0.966,"accuracy_served":86,"accuracy_measured":100,"goodput_accuracy":83,"p50_ms":24,"p99_ms":50}' >"$work/run/replay.json"
echo '{"policies":[{"policy":"gamut","load":0.7,"slo_ms":36,"attainment":0.999,"accuracy_served":88,"goodput_accuracy":87.9,"p99_ms":30},
 {"policy":"fixed:00000000000000a1","load":0.7,"slo_ms":36,"attainment":1,"accuracy_served":83,"goodput_accuracy":83,"p99_ms":12},
 {"policy":"fixed:00000000000000a4","load":0.7,"slo_ms":36,"attainment":0.4,"accuracy_served":92,"goodput_accuracy":36.8,"p99_ms":99},
 {"policy":"oracle","load":0.7,"slo_ms":36,"attainment":1,"accuracy_served":89,"goodput_accuracy":89}]}' >"$work/run/simulation.json"
awk 'BEGIN {
    printf "{\"checkpoints\":["
    for (i = 1; i <= 6; i++) printf "%s{\"number\":%d,\"bytes\":%d,\"image_bytes\":4000000,\"ratio\":%.1f,\"ratio_weights\":%.1f,\"top1_before\":90,\"top1_after\":89.9}", (i > 1 ? "," : ""), i, 1e5 + i, 40, 50
    printf "],\"restores\":["
    for (i = 1; i <= 5; i++) printf "%s{\"restores\":%d,\"top1\":%.1f,\"undisturbed\":%.1f}", (i > 1 ? "," : ""), i, 80 + i, 80.2 + i
    print "]}"
}' >"$work/run/checkpoints.json"

expect 0 report "$work/run" --db :memory: --json
has_keys path added
: >"$work/none.js"
with_check "$work/none.js" <"$work/run/report.html" >"$work/checked.html"
for scheme in light dark; do
    look checked.html $scheme
    every "width=1280\|width=390"
    every "canvases=14|blank=0|wide=0|over=0|unnamed=0|light=$([ $scheme = light ] && echo true || echo false)|fetched=0|tables=13"
    every "sections=runs,training,front,replay,policies,checkpoints|problems=\$"
done

# One kind alone: the other sections are left out.
mkdir "$work/alone"
cp "$work/run/pareto.json" "$work/alone/"
expect 0 report "$work/alone" --db :memory:
with_check "$work/none.js" <"$work/alone/report.html" >"$work/checked.html"
look checked.html light
every "canvases=1|blank=0|wide=0|over=0"
every "sections=runs,front|problems=\$"
finish
