// SPDX-License-Identifier: Apache-2.0
// The report: sections made of the page's data (docs/report.md describes it). A section without data is left out.
'use strict';
(() => {
  const { el, num, short, sig, percent, time, top1, is, table, choice, chart, swatch } = gamut;
  const data = JSON.parse(document.getElementById('data').textContent) || { runs: [] };
  const main = document.getElementById('main'), jump = document.querySelector('nav.jump ul');
  const of = kind => data.runs.filter(r => r.kind === kind);
  const trainings = of('training'), searches = of('search'), profiles = of('profile'), stores = of('checkpoints');
  const servings = data.runs.filter(r => r.kind === 'serving' || r.kind === 'fates');
  for (const run of servings) // fates without a result: what they add up to
    if (!run.policies && run.totals) run.policies = run.totals.map(t => ({ ...t, attainment: t.sent ? t.met / t.sent : NaN, goodput_accuracy: is(t.accuracy_served) ? t.accuracy_served * t.met / t.sent : undefined }));
  const chooses = policy => !/^(fixed:|oracle)/.test(policy || '');
  const weight = r => { const p = (r.policies || [{}])[0].policy; return p === 'gamut' ? 0 : chooses(p) ? 1 : 2; };
  const replays = servings.filter(r => r.series).sort((a, b) => weight(a) - weight(b)); // ours first, fixed models last
  const when = seconds => new Date(seconds * 1000).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
  const uniq = list => [...new Set(list)];
  const last = list => list[list.length - 1];
  const plural = (n, one, many) => `${num(n)} ${n === 1 ? one : many || one + 's'}`;

  // Every subnet that a search, profile or replay names, by id.
  const known = new Map();
  for (const run of data.runs)
    for (const s of [...(run.front || []), ...(run.subnets || [])])
      if (s.id) known.set(s.id, { ...s, ...(known.get(s.id) || {}) });
  const brief = s => s.choice && s.choice.length <= 26 ? s.choice : (s.id || '').slice(0, 8);
  const subnetName = s => [is(s.top1) ? `${num(s.top1, 1)} %` : '', brief(s)].filter(Boolean).join(' · ') || 'subnet';
  function policyName(name) {
    const fixed = /^fixed:(.+)$/.exec(name || '');
    const subnet = fixed && known.get(fixed[1]);
    return fixed ? `fixed ${subnet && is(subnet.top1) ? `${num(subnet.top1, 1)} %` : fixed[1].slice(0, 8)}` : name || 'server';
  }

  function section(id, title, lead) {
    const node = el('section', { id, 'aria-labelledby': `${id}-title` }, el('h2', { id: `${id}-title` }, title), lead ? el('p', { class: 'lead' }, lead) : null);
    jump.append(el('li', {}, el('a', { href: `#${id}` }, title)));
    main.append(node);
    return node;
  }
  const heading = (node, run, many, title) => { if (many) node.append(el('h3', { class: 'run-name' }, title || run.name, ' ', el('small', {}, title ? `${run.name}, ${when(run.made_at)}` : when(run.made_at)))); };
  const grid = node => { const g = el('div', { class: 'charts' }); node.append(g); return g; };
  const points = (list, x, y) => list.filter(r => is(r[x]) && is(r[y])).map(r => ({ x: r[x], y: r[y] }));

  // --- top: the figures that a reader wants first
  function tiles() {
    const list = [], add = (value, unit, label, note, mood) => list.push(el('li', { class: mood }, el('b', {}, value, unit ? el('small', {}, unit) : null), el('span', {}, label), note ? el('em', {}, note) : null));
    const live = replays[0];
    if (live) {
      const t = live.totals[0], share = t.met / t.sent;
      add(percent(share).replace(' %', ''), '%', 'answered by the deadline', `${num(t.met)} of ${num(t.sent)} requests`, share >= 0.99 ? 'good' : share >= 0.9 ? 'warn' : 'bad');
      if (is(t.accuracy_served)) add(num(t.accuracy_served, 1), '%', 'accuracy of what was served', is(t.accuracy_measured) ? `measured on labels: ${num(t.accuracy_measured, 1)} %` : 'as profiled, over answers in time');
      add(num((live.subnets || []).length), '', 'subnets served by one model', `in ${time(live.series.width * live.series.arrivals.length)}`);
      const p99 = live.policies && live.policies[0].p99_ms, slo = live.policies && live.policies[0].slo_ms;
      if (is(p99)) add(sig(p99), 'ms', 'latency, 99th percentile', is(slo) ? `deadline ${sig(slo)} ms` : '');
    }
    const compared = groups().map(g => ({ g, a: against(g.by) })).find(x => x.a && is(x.a.gain));
    if (compared) add(signed(compared.a.gain), ' points', 'against the best fixed model', `accuracy of all requests, policy ${policyName(compared.a.ours.policy)}, ${compared.g.live ? 'over HTTP' : 'simulated'}`, compared.a.gain > 0 ? 'good' : '');
    const best = trainings[0] && finals(trainings[0]);
    if (best && best.length) {
      const top = best.reduce((a, b) => b.top1 > a.top1 ? b : a), low = best.reduce((a, b) => b.top1 < a.top1 ? b : a);
      add(num(top.top1, 1), '%', 'the best subnet', `${top.choice}, ${top.split === 'test' ? 'test set' : 'validation'}`);
      if (low !== top) add(num(low.top1, 1), '%', 'the least accurate one', `${low.choice}${is(low.macs) && is(top.macs) ? `, ${sig(top.macs / low.macs, 2)} times cheaper` : ''}`);
    }
    if (searches[0]) add(num((searches[0].front || []).length), '', 'subnets on the front', searches[0].settings.evaluations ? `of ${num(Number(searches[0].settings.evaluations))} evaluated` : '');
    const checkpoints = stores[0] && stores[0].checkpoints;
    if (checkpoints) add(sig(totalRatio(checkpoints) || last(checkpoints).ratio), '×', 'smaller checkpoints', `${plural(checkpoints.length, 'checkpoint')}, whole files`);
    if (list.length) main.append(el('ul', { class: 'tiles', 'aria-label': 'Key figures' }, list.slice(0, 8)));
  }
  function totalRatio(list) {
    const raw = list.reduce((a, c) => a + (c.raw_bytes || c.ratio * c.bytes), 0), kept = list.reduce((a, c) => a + c.bytes, 0);
    return kept > 0 ? raw / kept : NaN;
  }

  // --- what was run
  const kinds = { training: 'training', search: 'search', profile: 'profile', serving: 'serving', fates: 'requests', checkpoints: 'checkpoints' };
  function facts(run) {
    const s = run.settings;
    if (run.kind === 'training') return [s.preset, s.strategy && `strategy ${s.strategy}`, s.data && `on ${s.data}`, run.epochs && `${sig(last(run.epochs).epoch, 2)}${s.epochs ? ` of ${s.epochs}` : ''} epochs`,
      run.epochs && time(Number(s.seconds) || last(run.epochs).seconds), s.macs_spent && `${short(Number(s.macs_spent))} MACs`, s.seed && `seed ${s.seed}`];
    if (run.kind === 'search') return [s.objective && `by ${s.objective}`, plural((run.front || []).length, 'subnet') + ' on the front', s.evaluations && `${num(Number(s.evaluations))} evaluated`, s.seconds && time(Number(s.seconds))];
    if (run.kind === 'profile') return [plural((run.subnets || []).length, 'subnet'), s.dtype || s.type, s.cpu_model || s.cpu, s.threads && plural(Number(s.threads), 'thread')];
    if (run.kind === 'checkpoints') return [plural((run.checkpoints || []).length, 'checkpoint'), run.checkpoints && `${short(run.checkpoints.reduce((a, c) => a + c.bytes, 0), 'B')}`];
    const p = (run.policies || [{}])[0], t = (run.totals || [])[0];
    return [run.policies && run.policies.length > 1 ? `${uniq(run.policies.map(x => x.policy)).length} policies compared` : p.policy && `policy ${policyName(p.policy)}`, p.trace && `trace ${p.trace}`,
      is(p.load) && `load ${num(p.load, 2)}`, is(p.slo_ms) && `deadline ${sig(p.slo_ms)} ms`, t ? plural(t.sent, 'request') : is(p.sent) && plural(p.sent, 'request')];
  }
  function ran() {
    const node = section('runs', 'What was run', null);
    node.append(el('div', { class: 'card stack' }, table(['Kind', 'Run', 'When', 'In short'],
      data.runs.map(r => [el('span', { class: 'chip' }, kinds[r.kind] || r.kind), { v: r.name, class: 'name' }, { v: when(r.made_at), class: 'when' }, facts(r).filter(Boolean).join(', ')])),
      data.more ? el('p', { class: 'lead' }, `${plural(data.more, 'older run')} of the database not shown; --most N shows more.`) : null));
  }

  // --- training
  function finals(run) { // the last evaluation of each subnet, on the test set when it was read
    const list = run.evaluations || [], split = list.some(e => e.split === 'test') ? 'test' : 'val';
    return uniq(list.filter(e => e.split === split).map(e => e.choice)).map(c => last(list.filter(e => e.split === split && e.choice === c)));
  }
  function training() {
    const shown = trainings.filter(r => r.epochs || r.evaluations);
    if (!shown.length) return;
    const node = section('training', 'Training', 'One network is trained; each line of the first chart is one of its subnets, from the smallest to the largest.');
    for (const run of shown) {
      heading(node, run, shown.length > 1);
      const g = grid(node), list = run.evaluations || [];
      const validation = list.filter(e => e.split === 'val'), use = validation.length ? validation : list;
      const subnets = uniq(use.map(e => e.choice)).map(c => use.filter(e => e.choice === c)).sort((a, b) => (last(a).macs - last(b).macs) || (last(a).top1 - last(b).top1));
      if (subnets.length) {
        const enders = finals(run), test = enders.length && enders[0].split === 'test';
        const end = c => enders.find(e => e.choice === c) || {};
        chart(g, { title: 'Accuracy of the subnets', size: 'full tall', note: `Top-1 on ${validation.length ? 'images held out of training' : 'the test set'}, after each subnet got norm statistics of its own.`,
          x: { title: 'epoch', min: 0, max: Math.max(...use.map(e => e.epoch)) }, y: { title: 'top-1 (%)' }, reverse: true,
          tooltip: { title: i => `epoch ${sig(i[0].parsed.x)}`, label: i => ` ${i.dataset.label}: ${num(i.parsed.y, 2)} %` },
          series: subnets.map((rows, i) => ({ label: rows[0].choice, points: points(rows, 'epoch', 'top1'), colour: subnets.length > 1 ? i / (subnets.length - 1) : 0.4, radius: 3.5, shape: i, dash: i })).reverse(),
          table: { head: ['Subnet', '#MACs', '#Validation', ...(test ? ['#Test'] : [])],
            rows: subnets.map((rows, i) => [el('span', {}, swatch(subnets.length > 1 ? i / (subnets.length - 1) : 0.4), choice(rows[0].choice)), short(last(rows).macs), top1(last(rows).top1), ...(test ? [top1(end(rows[0].choice).top1)] : [])]) } });
      }
      if (run.epochs) {
        const e = run.epochs, head = ['#Epoch', '#Loss', '#Accuracy', '#Learning rate', '#Images/s'], rows = e.map(r => [sig(r.epoch), num(r.loss, 4), top1(r.accuracy), sig(r.lr, 3), num(r.images_per_second)]);
        const one = e.length < 40 ? 3 : 0, x = { title: 'epoch', min: 0, max: last(e).epoch };
        chart(g, { title: 'Training loss', note: 'Mean over an epoch of the largest subnet, and the learning rate.', x, y: { title: 'loss' }, y2: { title: 'learning rate', min: 0 },
          series: [{ label: 'loss', points: points(e, 'epoch', 'loss'), colour: 'met', radius: one }, { label: 'learning rate', points: points(e, 'epoch', 'lr'), colour: 'queue', axis: 'y2', dash: 1, width: 1.5 }], table: { head, rows } });
        chart(g, { title: 'Accuracy while training', note: 'On augmented training images, the largest subnet.', x, y: { title: 'top-1 (%)' },
          series: [{ label: 'training accuracy', points: points(e, 'epoch', 'accuracy'), colour: 'met', radius: one }], table: { head, rows } });
      }
    }
  }

  // --- the front
  function front() {
    const shown = searches.filter(r => r.front).concat(searches.length ? [] : profiles.filter(r => r.subnets));
    if (!shown.length) return;
    const node = section('front', 'The front', searches.length ? 'Every subnet that the search measured; those on the line are beaten by no other.' : 'The subnets of the profile, as this machine runs them.');
    const served = new Map((replays[0] && replays[0].subnets || []).map(s => [s.id, s.count]));
    const total = [...served.values()].reduce((a, b) => a + b, 0);
    for (const run of shown) {
      heading(node, run, shown.length > 1);
      const best = (run.front || run.subnets).filter(s => is(s.top1)), cloud = (run.evaluated || []).filter(s => is(s.top1));
      const has = key => best.some(s => is(s[key]));
      let key = has('latency_ms') && run.settings.objective !== 'macs' ? 'latency_ms' : 'macs';
      const xTitle = () => key === 'macs' ? 'multiply-accumulates' : `latency of ${plural(Number(run.settings['settings.latency_batch']) || 1, 'image')} (ms)`;
      const share = s => served.has(s.id) ? served.get(s.id) / total : 0;
      const make = () => {
        const sorted = best.filter(s => is(s[key])).sort((a, b) => a[key] - b[key]), used = sorted.filter(s => share(s) > 0);
        return { x: { title: xTitle(), format: key === 'macs' ? v => short(v) : undefined }, series: [
          { label: 'served in the replay', points: points(used, key, 'top1'), colour: 'mark', line: false, radius: 9, ring: true, order: 0, names: used.map(s => share(s) < 0.005 ? '< 1 %' : `${num(100 * share(s), 0)} %`) },
          { label: 'front', points: points(sorted, key, 'top1'), colour: 'accent', radius: 4.5, order: 1 },
          { label: 'evaluated', points: points(cloud, key, 'top1'), colour: 'queue', line: false, radius: 2.6, soft: 0.5, order: 2 }].filter(s => s.points.length) };
      };
      const first = make();
      const about = i => { const s = i.dataset.label === 'evaluated' ? cloud.filter(c => is(c[key]))[i.dataIndex] : best.find(b => b[key] === i.parsed.x && b.top1 === i.parsed.y); return s || {}; };
      const controls = has('latency_ms') && has('macs') ? el('div', { class: 'switch', role: 'group', 'aria-label': 'Horizontal axis' }, [['latency_ms', 'Latency'], ['macs', 'MACs']].map(([k, label]) =>
        el('button', { type: 'button', 'aria-pressed': String(k === key), onclick: event => {
          key = k;
          for (const b of event.currentTarget.parentNode.children) b.setAttribute('aria-pressed', String(b === event.currentTarget));
          gamut.redraw(handle, make());
        } }, label))) : null;
      const handle = chart(grid(node), { title: 'Accuracy against cost', size: 'full tall', labels: true, controls, note: ['Up and to the left is better.', used(first) && 'Rings: what the replay served, with each subnet’s share of the answers.', run.settings['predictor.tau'] && `The predictor’s ranking of held-out subnets: Kendall’s tau ${num(Number(run.settings['predictor.tau']), 2)}.`].filter(Boolean).join(' '),
        y: { title: 'top-1 (%)' }, hover: { mode: 'nearest', intersect: true }, ...first,
        tooltip: { title: i => brief(about(i[0])) || i[0].dataset.label, label: i => ` ${num(i.parsed.y, 2)} %, ${key === 'macs' ? `${short(i.parsed.x)} MACs` : `${sig(i.parsed.x)} ms`}${is(about(i).predicted) ? `, predicted ${num(about(i).predicted, 2)} %` : ''}` },
        table: { head: ['Subnet', 'Choice', '#Top-1', '#MACs', '#Latency', ...(served.size ? ['#Share served'] : [])],
          rows: best.map(s => [choice((s.id || '').slice(0, 8)), choice(s.choice), top1(s.top1), short(s.macs), is(s.latency_ms) ? `${sig(s.latency_ms)} ms` : '–', ...(served.size ? [percent(share(s))] : [])]) } });
    }
    for (const run of profiles.filter(r => r.latencies && r.latencies.length)) latencies(node, run);
  }
  const used = spec => spec.series.some(s => s.label === 'served in the replay');
  function latencies(node, run) {
    const batches = uniq(run.latencies.map(l => l.batch)).sort((a, b) => a - b);
    if (batches.length < 2) return;
    const rows = run.subnets.map(s => ({ s, by: batches.map(b => run.latencies.find(l => l.id === s.id && l.batch === b) || {}) })).filter(r => r.by.some(l => is(l.p50_ms)));
    const shown = rows.length <= 8 ? rows : [...Array(8).keys()].map(i => rows[Math.round(i * (rows.length - 1) / 7)]);
    chart(grid(node), { title: 'Latency by batch size', size: 'full', note: `Median of one run on this machine${shown.length < rows.length ? `; ${shown.length} of ${rows.length} subnets, evenly chosen` : ''}.`,
      x: { title: 'images in the batch', type: 'logarithmic', at: batches, format: v => v }, y: { title: 'ms', min: 0 }, reverse: true,
      tooltip: { title: i => plural(i[0].parsed.x, 'image'), label: i => ` ${i.dataset.label}: ${sig(i.parsed.y)} ms` },
      series: shown.map((r, i) => ({ label: subnetName(r.s), colour: shown.length > 1 ? i / (shown.length - 1) : 0.4, radius: 3, dash: i, shape: i, points: batches.map((b, k) => ({ x: b, y: r.by[k].p50_ms })).filter(p => is(p.y)) })).reverse(),
      table: { head: ['Subnet', ...batches.map(b => `#${b}`)], rows: rows.map(r => [choice(subnetName(r.s)), ...r.by.map(l => is(l.p50_ms) ? `${sig(l.p50_ms)} ms` : '–')]) } });
  }

  // --- a replay
  function replay() {
    if (!replays.length) return;
    const node = section('replay', 'Serving under load', 'One model in memory. Before each batch the policy picks the subnet that still makes the deadlines of the queue.');
    replays.forEach((run, at) => {
      const p = (run.policies || [{}])[0];
      heading(node, run, replays.length > 1, p.policy && `Policy ${policyName(p.policy)}`);
      gamut.timeline(grid(node), { ...run.series, subnets: run.subnets || [], slo_ms: p.slo_ms, group: `replay${at}`, name: subnetName, xTitle: 'seconds since the start' });
    });
  }

  // --- policies compared
  function groups() { // the same load: one table
    const all = new Map();
    for (const run of servings) for (const p of run.policies || []) {
      const live = !!(run.settings.url || run.series);
      const key = JSON.stringify([live, p.trace, p.load, is(p.load) ? null : p.rate, p.slo_ms, p.workers]);
      if (!all.has(key)) all.set(key, { live, first: p, rows: [] });
      all.get(key).rows.push({ ...p, policy: p.policy || run.name });
    }
    return [...all.values()].map(g => ({ ...g, by: uniq(g.rows.map(r => r.policy)).map(name => mean(name, g.rows.filter(r => r.policy === name))) })).filter(g => g.by.length > 1);
  }
  const measures = ['attainment', 'accuracy_served', 'accuracy_measured', 'goodput_accuracy', 'p50_ms', 'p99_ms', 'dropped', 'sent'];
  function mean(policy, rows) {
    const out = { policy, runs: rows.length, spread: {} };
    for (const m of measures) {
      const values = rows.map(r => r[m]).filter(is);
      if (!values.length) continue;
      out[m] = values.reduce((a, b) => a + b, 0) / values.length;
      out.spread[m] = (Math.max(...values) - Math.min(...values)) / 2;
    }
    return out;
  }
  // The paper's two questions: how much more accurate at as many deadlines, how many more deadlines at the same accuracy.
  function against(rows) {
    const choosing = rows.filter(r => chooses(r.policy) && is(r.accuracy_served)), fixed = rows.filter(r => /^fixed:/.test(r.policy) && is(r.accuracy_served));
    const ours = choosing.find(r => r.policy === 'gamut') || choosing.sort((a, b) => b.goodput_accuracy - a.goodput_accuracy)[0];
    if (!ours || !fixed.length) return null;
    const punctual = fixed.filter(r => r.attainment >= ours.attainment - 0.0005).map(r => r.accuracy_served), accurate = fixed.filter(r => r.accuracy_served >= ours.accuracy_served).map(r => r.attainment);
    const whole = Math.max(...fixed.map(r => r.goodput_accuracy));
    return { ours, points: punctual.length ? ours.accuracy_served - Math.max(...punctual) : NaN, times: accurate.length ? ours.attainment / Math.max(...accurate) : NaN, gain: ours.goodput_accuracy - whole };
  }
  const signed = v => `${v < 0 ? '−' : '+'}${num(Math.abs(v), 2)}`;
  function verdict(rows) {
    const a = against(rows);
    if (!a) return null;
    const parts = [is(a.points) && `${signed(a.points)} points of accuracy against the best fixed model that meets as many deadlines`, is(a.times) && isFinite(a.times) && `${sig(a.times)} times the deadlines of the best fixed model that is as accurate`,
      !is(a.points) && is(a.gain) && `${signed(a.gain)} points in “accuracy of all” against the best fixed model`].filter(Boolean);
    return parts.length ? el('p', { class: 'verdict' }, `${policyName(a.ours.policy)}: ${parts.join('; ')}.`) : null;
  }
  function policies() {
    const list = groups();
    if (!list.length) return;
    const node = section('policies', 'Policies on the same load', 'The same requests, decided by different policies. “Accuracy of all” counts an answer that is late or missing as wrong: it is the figure to compare.');
    list.forEach((g, at) => {
      const rows = g.by.sort((a, b) => (a.policy === 'oracle') - (b.policy === 'oracle') || b.goodput_accuracy - a.goodput_accuracy);
      const has = m => rows.some(r => is(r[m])), rivals = rows.filter(r => r.policy !== 'oracle');
      const judged = ['attainment', 'goodput_accuracy'], best = m => Math.max(...rivals.map(r => r[m]).filter(is)); // the others mean little alone
      const cell = (r, m, show, low) => ({ v: is(r[m]) ? show(r[m]) + (r.spread[m] > 0 && r.runs > 1 && !low ? ` ± ${num((m === 'attainment' ? 100 : 1) * r.spread[m], 2)}` : '') : '–', class: judged.includes(m) && is(r[m]) && r.policy !== 'oracle' && r[m] === best(m) ? 'best' : undefined });
      const columns = [['attainment', 'Deadlines met', percent], ['accuracy_served', 'Accuracy served', top1], ['accuracy_measured', 'Measured', top1], ['goodput_accuracy', 'Accuracy of all', top1], ['p99_ms', 'p99', v => `${sig(v)} ms`, true]].filter(c => has(c[0]));
      const f = g.first, text = [g.live ? 'Over HTTP' : 'Simulated', f.trace, is(f.load) ? `load ${num(f.load, 2)}` : is(f.rate) && `${num(f.rate)} requests/s`, is(f.slo_ms) && `deadline ${sig(f.slo_ms)} ms`, is(f.workers) && plural(f.workers, 'worker'), rows[0].runs > 1 && `${rows[0].runs} seeds`].filter(Boolean).join(', ');
      const full = el('div', {}, verdict(rows), el('p', { class: 'load' }, text), table(['Policy', ...columns.map(c => `#${c[1]}`)], rows.map(r => [{ v: policyName(r.policy), class: 'name' }, ...columns.map(([m, , show, low]) => cell(r, m, show, low))]), text));
      const g2 = grid(node);
      if (at < 4 && has('accuracy_served')) {
        const low = Math.min(...rows.map(r => r.attainment)), ours = rows.filter(r => chooses(r.policy)), fixed = rows.filter(r => /^fixed:/.test(r.policy)), oracle = rows.filter(r => r.policy === 'oracle');
        const s = (label, list2, colour, shape, more) => ({ label, colour, shape, line: false, radius: 6, points: list2.filter(r => is(r.accuracy_served)).map(r => ({ x: 100 * r.attainment, y: r.accuracy_served })), names: list2.filter(r => is(r.accuracy_served)).map(r => policyName(r.policy)), ...more });
        chart(g2, { title: 'Deadlines against accuracy', size: 'full', labels: true, note: `Up and to the right is better. ${text}.`, x: { title: 'deadlines met (%)', max: 100.5, min: Math.max(0, Math.floor(100 * low - 2)), format: v => v <= 100 ? v : '' }, y: { title: 'accuracy of answers in time (%)' }, hover: { mode: 'nearest', intersect: true },
          tooltip: { label: i => ` ${i.dataset.names[i.dataIndex]}: ${num(i.parsed.x, 2)} % met, ${num(i.parsed.y, 2)} %` },
          series: [s('policies that choose', ours, 'accent', 0), s('one fixed model', fixed, 'late', 2), s('offline optimum', oracle, 'refused', 1)].filter(x => x.points.length) });
      }
      g2.append(el('div', { class: 'card full' }, full));
    });
  }

  // --- checkpoints
  function checkpoints() {
    const shown = stores.filter(r => r.checkpoints);
    if (!shown.length) return;
    const node = section('checkpoints', 'Checkpoints', 'How much of the disk the history of a training run takes, and what a restored run loses.');
    for (const run of shown) {
      heading(node, run, shown.length > 1);
      const list = run.checkpoints, names = list.map((c, i) => c.name || (is(c.epoch) ? `epoch ${sig(c.epoch, 2)}` : is(c.step) ? `step ${num(c.step)}` : `${i + 1}`)), g = grid(node);
      const both = list.filter(c => is(c.top1_before) && is(c.top1_after)), unit = Math.max(...list.map(c => c.bytes)) >= 2e6 ? [1e6, 'MB'] : [1e3, 'kB'];
      const head = ['Checkpoint', '#Size', '#Whole file', '#Weights', '#Before', '#After'];
      const rows = list.map((c, i) => [names[i], short(c.bytes, 'B'), `${sig(c.ratio)}×`, is(c.ratio_weights) ? `${sig(c.ratio_weights)}×` : '–', top1(c.top1_before), top1(c.top1_after)]);
      chart(g, { title: 'Size of each checkpoint', size: both.length || run.restores ? '' : 'full', type: 'bar', note: `${plural(list.length, 'file')}, ${short(list.reduce((a, c) => a + c.bytes, 0), 'B')} in all; ${sig(totalRatio(list))} times smaller than stored as they are.`,
        x: { labels: names }, y: { title: unit[1], min: 0 }, tooltip: { label: i => ` ${num(i.parsed.y, 1)} ${unit[1]}, ${sig(list[i.dataIndex].ratio)} times smaller` },
        series: [{ label: 'size', type: 'bar', colour: 'met', points: list.map(c => c.bytes / unit[0]) }], table: { head, rows } });
      if (both.length) chart(g, { title: 'Accuracy before and after', size: run.restores ? '' : '', note: 'Of the weights as they were, and as the checkpoint gives them back.', x: { labels: names }, y: { title: 'top-1 (%)' },
        series: [{ label: 'before', colour: 'queue', points: list.map(c => c.top1_before), radius: 3, dash: 1 }, { label: 'after', colour: 'accent', points: list.map(c => c.top1_after), radius: 3.5, shape: 1 }], table: { head, rows } });
      if (run.restores) {
        const r = run.restores.map((x, i) => ({ ...x, n: is(x.restores) ? x.restores : i + 1 }));
        chart(g, { title: 'Quality against restores', size: 'full', note: 'A run that was stopped and restored again and again, beside the same run undisturbed.', x: { title: 'restores so far', precision: 0 }, y: { title: 'top-1 (%)' },
          series: [{ label: 'undisturbed', colour: 'queue', points: points(r, 'n', 'undisturbed'), radius: 3, dash: 1 }, { label: 'restored', colour: 'accent', points: points(r, 'n', 'top1'), radius: 4, shape: 1 }].filter(s => s.points.length),
          table: { head: ['#Restores', '#Top-1', '#Undisturbed'], rows: r.map(x => [num(x.n), top1(x.top1), top1(x.undisturbed)]) } });
      }
    }
  }

  document.title = `${data.title} – Gamut report`;
  document.getElementById('title').textContent = data.title;
  const written = Date.parse(data.written_at) / 1000;
  document.getElementById('about').textContent = `${plural(data.runs.length, 'run')}, written ${when(written)}`;
  document.getElementById('foot').textContent = `Gamut ${data.version}. This page is one file and asks for nothing from the network. Charts: Chart.js (MIT licence).`;
  tiles();
  ran();
  training();
  front();
  replay();
  policies();
  checkpoints();
})();
