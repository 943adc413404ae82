// SPDX-License-Identifier: Apache-2.0
// Charts over time of what a server did: in the report from a replay, in the dashboard from the running server.
'use strict';
gamut.timeline = (parent, first) => {
  const { num, sig, percent, is, short } = gamut;
  // data: {start, width, arrivals[], met[], late[], dropped[], refused[], queue[], accuracy[], p50_ms[], p99_ms[],
  //        subnets[{id, choice, top1, counts[], shade}], slo_ms, group, name(subnet), xTitle, waiting[what the queue is called, in a sentence]}
  function specs(d) {
    const n = d.arrivals.length, at = i => d.start + (i + 0.5) * d.width, rate = list => (list || []).map((v, i) => ({ x: at(i), y: is(v) ? v / d.width : v }));
    const inside = d.waiting || ['in the server', 'requests in the server at the end of each interval'];
    const plain = list => (list || []).map((v, i) => ({ x: at(i), y: v })).filter(p => is(p.y));
    const x = { title: d.xTitle, min: d.start, max: d.start + n * d.width, ticks: 10, format: v => num(v, Number.isInteger(v) ? 0 : 1) };
    const title = items => `${sig(items[0].parsed.x - d.width / 2)} to ${sig(items[0].parsed.x + d.width / 2)} s`;
    const any = list => (list || []).some(v => v > 0);
    const subnets = d.subnets, share = subnets.map((s, i) => is(s.shade) ? s.shade : subnets.length > 1 ? i / (subnets.length - 1) : 0.5);
    const all = subnets.reduce((a, s) => a + s.counts.reduce((b, c) => b + c, 0), 0);
    const step = Math.max(1, Math.ceil(n / 40)), sum = (list, i) => (list || []).slice(i, i + step).reduce((a, b) => a + (b || 0), 0);
    const buckets = [...Array(Math.ceil(n / step)).keys()].map(i => i * step), span = i => `${sig(d.start + i * d.width)} s`;
    const stacked = (list, more) => ({ area: true, stack: 'all', width: 0.5, ...more, points: rate(list) });
    return [
      { title: 'Which subnet answered', size: 'full tall', group: d.group, note: 'Answers per second, stacked from the smallest subnet (bottom) to the largest.', x, y: { title: 'answers per second', stacked: true, min: 0 }, reverse: true,
        tooltip: { title, label: i => i.raw.y > 0 ? ` ${i.dataset.label}: ${num(i.raw.y)} /s` : null },
        series: subnets.map((s, i) => stacked(s.counts, { label: d.name(s), colour: share[i] })), legend: true,
        table: { head: ['Subnet', 'Choice', '#Top-1', '#Answers', '#Share'], rows: subnets.map((s, i) => { const c = s.counts.reduce((a, b) => a + b, 0);
          return [gamut.el('span', {}, gamut.swatch(share[i]), gamut.choice((s.id || '').slice(0, 8))), gamut.choice(s.choice), gamut.top1(s.top1), num(c), percent(all ? c / all : NaN)]; }) } },
      { title: 'Deadlines', group: d.group, note: 'What became of the requests that arrived, per second.', x, y: { title: 'requests per second', stacked: true, min: 0 }, reverse: true,
        tooltip: { title, label: i => ` ${i.dataset.label}: ${num(i.raw.y)} /s` },
        series: [['met', 'in time', 'met'], ['late', 'late', 'late'], ['dropped', 'dropped', 'dropped'], ['refused', 'refused or failed', 'refused']].filter(([k]) => k === 'met' || any(d[k])).map(([k, label, colour]) => stacked(d[k], { label, colour })), legend: true,
        table: { head: ['#From', '#Arrived', '#In time', '#Late', '#Dropped', '#Met'], rows: buckets.map(i => [span(i), num(sum(d.arrivals, i)), num(sum(d.met, i)), num(sum(d.late, i)), num(sum(d.dropped, i)), percent(sum(d.arrivals, i) ? sum(d.met, i) / sum(d.arrivals, i) : NaN)]) } },
      { title: 'Load and queue', group: d.group, note: `Arrivals per second, and ${inside[1]}.`, x, y: { title: 'requests per second', min: 0 }, y2: { title: inside[0], min: 0, precision: 0 },
        tooltip: { title, label: i => ` ${i.dataset.label}: ${num(i.raw.y)}` },
        series: [{ label: 'arrivals per second', points: rate(d.arrivals), colour: 'accent', width: 1.8 }, { label: inside[0], points: plain(d.queue), colour: 'queue', axis: 'y2', area: true, width: 1, order: 2 }],
        table: { head: ['#From', '#Arrivals/s', `#${inside[0][0].toUpperCase()}${inside[0].slice(1)}`], rows: buckets.map(i => [span(i), num(sum(d.arrivals, i) / (d.width * Math.min(step, n - i))), num((d.queue || [])[Math.min(i + step, n) - 1])]) } },
      { title: 'Accuracy served', group: d.group, note: 'Mean accuracy of the subnets behind the answers that were in time.', x, y: { title: 'accuracy (%)' }, tooltip: { title, label: i => ` ${num(i.raw.y, 2)} %` },
        series: [{ label: 'accuracy', points: plain(d.accuracy), colour: 'accent' }], hide: !plain(d.accuracy).length,
        table: { head: ['#From', '#Accuracy'], rows: buckets.map(i => [span(i), gamut.top1((d.accuracy || [])[i])]) } },
      { title: 'Latency', group: d.group, note: is(d.slo_ms) ? `From arrival to answer; the deadline is ${sig(d.slo_ms)} ms.` : 'From arrival to answer.', x, y: { title: 'ms', min: 0 },
        tooltip: { title, label: i => ` ${i.dataset.label}: ${sig(i.raw.y)} ms` }, hide: !plain(d.p99_ms).length,
        series: [{ label: '99th percentile', points: plain(d.p99_ms), colour: 'accent' }, { label: 'median', points: plain(d.p50_ms), colour: 'met', dash: 2 },
          ...(is(d.slo_ms) ? [{ label: 'deadline', points: [{ x: x.min, y: d.slo_ms }, { x: x.max, y: d.slo_ms }], colour: 'mark', dash: 1, width: 1.5 }] : [])],
        table: { head: ['#From', '#Median', '#99th percentile'], rows: buckets.map(i => [span(i), `${sig((d.p50_ms || [])[i])} ms`, `${sig((d.p99_ms || [])[i])} ms`]) } }];
  }
  const handles = new Map();
  function draw(d) {
    for (const spec of specs(d)) {
      if (handles.has(spec.title)) gamut.redraw(handles.get(spec.title), spec);
      else if (!spec.hide) handles.set(spec.title, gamut.chart(parent, spec));
    }
  }
  draw(first);
  return draw;
};
