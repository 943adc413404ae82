// SPDX-License-Identifier: Apache-2.0
// The live page of the server: asks for its status once a second (docs/http.md) and shows it with the report's charts.
'use strict';
(() => {
  const { el, num, short, sig, percent, time, top1, is, table, choice, swatch } = gamut;
  const at = id => document.getElementById(id);
  const period = 1000, slowest = 15000; // ms between two questions, and when the server does not answer
  let draw = null, wait = period, key = sessionStorage.getItem('gamut-key') || '';

  function state(text, mood) {
    if (at('state').textContent !== text) at('state').textContent = text; // a screen reader hears changes only
    at('state').className = `state ${mood}`;
  }
  function trouble(text) {
    at('trouble').hidden = !text;
    if (text && at('trouble').textContent !== text) at('trouble').textContent = text;
  }

  function tiles(s) {
    const [, ten, minute] = s.windows, alive = s.workers.filter(w => w.state !== 'dead').length;
    const tile = (value, unit, label, note, mood) => el('li', { class: mood }, el('b', {}, value, unit ? el('small', {}, unit) : null), el('span', {}, label), note ? el('em', {}, note) : null);
    const share = minute.attainment, mood = !is(share) ? '' : share >= 0.99 ? 'good' : share >= 0.9 ? 'warn' : 'bad';
    at('tiles').replaceChildren(
      tile(percent(share).replace(' %', ''), is(share) ? '%' : '', 'answered by the deadline', `last minute; since the start ${percent(s.totals.attainment)}`, mood),
      tile(is(minute.accuracy_served) ? num(minute.accuracy_served, 1) : '–', is(minute.accuracy_served) ? '%' : '', 'accuracy of what was served', 'last minute, as profiled'),
      tile(sig(ten.rate_qps), '/s', 'queries', `last 10 s; the smallest subnet could do ${short(s.capacity.smallest_qps)} /s`),
      tile(is(ten.p99_ms) ? sig(ten.p99_ms) : '–', 'ms', 'latency, 99th percentile', `last 10 s; ${s.server.slo_ms > 0 ? `deadline ${sig(s.server.slo_ms)} ms` : 'deadlines come with the requests'}`),
      tile(num(s.queue.length), '', 'waiting', `at most ${num(s.queue.limit)}`, s.queue.length > s.queue.limit / 2 ? 'warn' : ''),
      tile(`${alive}`, `of ${s.workers.length}`, 'workers alive', `started again: ${num(s.workers.reduce((a, w) => a + w.restarts, 0))}`, alive < s.workers.length ? 'bad' : 'good'),
      tile(short(s.totals.received), '', 'queries since the start', `${num(s.totals.late)} late, ${num(s.totals.dropped)} dropped, ${num(s.totals.rejected + s.totals.failed)} refused or failed`),
      tile(is(ten.mean_batch) ? num(ten.mean_batch, 1) : '–', '', 'images a batch', 'last 10 s'));
  }

  function timeline(s) {
    const n = s.series.received.length, r = s.series;
    at('waiting').hidden = n >= 2;
    if (n < 2) return;
    const known = s.subnets.map((x, i) => ({ ...x, shade: s.subnets.length > 1 ? i / (s.subnets.length - 1) : 0.5, counts: r.subnets[x.id] })).filter(x => x.counts);
    const data = { start: -n * r.step_s, width: r.step_s, arrivals: r.received, met: r.met, late: r.late, dropped: r.dropped,
      refused: r.rejected.map((v, i) => v + r.failed[i]), queue: r.queue, accuracy: r.accuracy, p50_ms: r.p50_ms, p99_ms: r.p99_ms, subnets: known,
      slo_ms: s.server.slo_ms > 0 ? s.server.slo_ms : undefined, group: 'live', xTitle: 'seconds from now', waiting: ['waiting', 'the longest queue of each second'],
      name: x => `${num(x.top1, 1)} % · ${x.choice && x.choice.length <= 26 ? x.choice : x.id.slice(0, 8)}` };
    if (draw) draw(data); else draw = gamut.timeline(at('time'), data);
  }

  function tables(s) {
    const all = s.subnets.reduce((a, x) => a + x.last_60, 0), last = s.subnets.length - 1;
    at('subnets').replaceChildren(table(['Subnet', 'Choice', '#Top-1', '#One image', '#Answers', '#Last minute'], s.subnets.map((x, i) =>
      [el('span', {}, swatch(last ? i / last : 0.5), choice(x.id.slice(0, 8))), choice(x.choice), top1(x.top1), `${sig(x.latency_ms)} ms`, num(x.count), all ? percent(x.last_60 / all) : '–'])));
    at('workers').replaceChildren(table(['Worker', 'Process', 'State', '#Batches', '#Restarts'], s.workers.map(w =>
      [num(w.index), String(w.pid), el('span', { class: `state ${w.state === 'dead' ? 'bad' : w.state === 'starting' ? 'warn' : 'good'}` }, w.state), num(w.batches), num(w.restarts)])));
  }

  function show(s) {
    state(s.server.ready ? 'ready' : 'not ready', s.server.ready ? 'good' : 'warn');
    at('title').textContent = s.model.name;
    document.title = `${s.model.name} – Gamut server`;
    at('about').textContent = [`policy ${s.server.policy}`, s.model.preset, s.model.data && `trained on ${s.model.data}`, s.model.dtype, s.model.bytes && short(s.model.bytes, 'B'), `up ${time(s.server.uptime_s)}`, `gamut ${s.server.version}`].filter(Boolean).join(', ');
    tiles(s);
    timeline(s);
    tables(s);
  }

  async function ask() {
    const stop = new AbortController(), alarm = setTimeout(() => stop.abort(), 10000);
    try {
      const answer = await fetch('/v2/gamut/status', { headers: key ? { Authorization: `Bearer ${key}` } : {}, cache: 'no-store', signal: stop.signal });
      at('key').hidden = answer.status !== 401;
      if (!at('key').hidden) { state('needs a key', 'warn'); trouble(''); wait = slowest; return; }
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      show(await answer.json());
      trouble('');
      wait = period;
    } catch (problem) {
      state('no answer', 'bad');
      trouble(`The server does not answer (${problem.name === 'AbortError' ? 'nothing for 10 s' : problem.message}). What is below is the last that was heard; this page keeps asking.`);
      wait = Math.min(wait * 2, slowest);
    } finally {
      clearTimeout(alarm);
    }
  }
  let timer = 0;
  async function turn() {
    clearTimeout(timer);
    await ask();
    if (!document.hidden) timer = setTimeout(turn, wait); // a page that nobody sees asks nothing
  }
  document.addEventListener('visibilitychange', () => { if (!document.hidden) turn(); });
  at('key').addEventListener('submit', event => {
    event.preventDefault();
    key = at('key-text').value;
    sessionStorage.setItem('gamut-key', key);
    turn();
  });
  turn();
})();
