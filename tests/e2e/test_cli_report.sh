#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gamut report: from what a run left to a page, with the database in between.
. "$(dirname "$0")/common.bash"
cd "$work" || exit 1

expect 0 report --help
says out "usage: gamut report"
says out "example:"
expect 2 report --frobnicate
expect 2 report --most 0
expect 1 report
says err "nothing to show"
expect 1 report absent
says err "absent"

mkdir -p runs/one runs/two
echo '{"event":"epoch","epoch":1,"step":10,"loss":1,"accuracy":50,"lr":0.1}' >runs/one/log.jsonl
echo '{"front":[{"id":"a","choice":"d=1","top1":80,"macs":5}]}' >runs/two/pareto.json
expect 0 report runs/one --json
one_line_of_json
has_keys path db added replaced unchanged ignored
says out '"path":"runs/one/report.html"'
says out '"added":1'
[ -s runs/one/report.html ] || fail "no page in the run's folder"
[ -s runs/gamut.db ] || fail "no database"
grep -q '"kind":"search"' runs/one/report.html && fail "a run of another folder is on the page"

expect 0 report # all of runs/
says out "runs: 1 new, 0 changed, 1 known already"
says out "page: runs/report.html"
grep -q '"kind":"search"' runs/report.html && grep -q '"kind":"training"' runs/report.html || fail "not all runs on the page"
echo '{"event":"epoch","epoch":2,"step":20,"loss":0.5,"accuracy":60,"lr":0.1}' >>runs/one/log.jsonl
expect 0 report runs/one/log.jsonl runs/two --out both.html --title 'Both of them' --json
says out '"path":"both.html"'
says out '"replaced":1,"unchanged":1'
grep -q '<title>' both.html && grep -q '"title":"Both of them"' both.html || fail "not the title asked for"

# Without a database; into a folder that is not there; a file that is broken; another program's file as database.
expect 0 report runs/two --db :memory: --out alone.html
expect 1 report runs/two --db :memory: --out absent/alone.html
says err "absent/alone.html"
echo '{"front":[{"macs":-1}]}' >broken.json
expect 1 report broken.json --db :memory: --out x.html
says err "broken.json: front[0]: 'macs' is -1; allowed"
[ ! -e x.html ] || fail "a page of nothing"
echo 'not a database, but long enough to be looked at by whoever opens it; really long enough, a hundred bytes at least' >text.db
expect 1 report runs/two --db text.db --out x.html
says err "text.db is damaged or no database"
expect 0 report runs/two --db fresh/deep/gamut.db --out x.html # folders of the database are made
finish
