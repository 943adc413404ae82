// SPDX-License-Identifier: Apache-2.0
// What the report and the dashboard share: elements, numbers, tables, and charts that follow the colour scheme, have a legend
// that the keyboard reaches, and a table that says the same.
'use strict';
window.gamut = (() => {
  // --- elements: el('p', {class: 'x'}, 'text', child). Texts never become markup.
  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? '' : value);
    }
    for (const child of children.flat()) if (child !== undefined && child !== null) node.append(child);
    return node;
  }
  function svg(name, attributes, ...children) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // --- numbers
  const is = value => typeof value === 'number' && isFinite(value);
  const dash = '–';
  function num(value, digits = 0) {
    return is(value) ? value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }) : dash;
  }
  // 1,234,567 -> 1.23 M
  function short(value, unit = '') {
    if (!is(value)) return dash;
    const steps = [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
    for (const [size, letter] of steps)
      if (Math.abs(value) >= size * (letter === 'k' ? 10 : 0.9995)) return `${sig(value / size)} ${letter}${unit}`;
    return `${num(value, Number.isInteger(value) ? 0 : 2)}${unit ? ' ' + unit : ''}`;
  }
  function sig(value, digits = 3) { // significant digits, at least those before the point
    if (!is(value)) return dash;
    const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1)) + 1);
    return num(value, Math.max(0, digits - whole));
  }
  // A share near one says how near: 99.95 %, 99.998 %.
  function percent(share) {
    if (!is(share)) return dash;
    const missing = 1 - share;
    return `${num(100 * share, missing > 0 && missing < 0.0005 ? 3 : missing < 0.02 && missing > 0 ? 2 : 1)} %`;
  }
  function time(seconds) {
    if (!is(seconds)) return dash;
    const s = Math.round(seconds);
    if (s >= 86400) return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
    if (s >= 3600) return `${Math.floor(s / 3600)} h ${String(Math.floor(s % 3600 / 60)).padStart(2, '0')} min`;
    if (s >= 60) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
    return `${sig(seconds, 2)} s`;
  }
  const top1 = value => is(value) ? `${num(value, 2)} %` : dash;

  // --- colours: variables of style.css; ramp(t) runs from the smallest subnet (0) to the largest (1).
  const root = document.documentElement;
  const css = name => getComputedStyle(root).getPropertyValue(name).trim();
  function ramp(t) {
    const stops = css('--ramp').split(/\s+/).map(c => [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16)));
    const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    return `rgb(${stops[low].map((v, i) => Math.round(v + (stops[low + 1][i] - v) * (at - low))).join(', ')})`;
  }
  const colour = c => typeof c === 'number' ? ramp(c) : css(`--${c}`);
  const fade = (c, alpha) => c.startsWith('#') ? c + Math.round(alpha * 255).toString(16).padStart(2, '0')
    : c.replace('rgb(', 'rgba(').replace(')', `, ${alpha})`);
  const dashes = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];
  const shapes = ['circle', 'rectRot', 'triangle', 'rect', 'star', 'crossRot'];

  // --- tables. A cell is a text, a number (shown as it is), a node, or {v, class}. Columns whose head starts with # are numbers.
  function table(head, rows, caption) {
    const numeric = head.map(h => h.startsWith('#'));
    const cell = (c, i) => {
      const value = c !== null && typeof c === 'object' && !(c instanceof Node) ? c : { v: c };
      const classes = [numeric[i] ? 'n' : '', value.class || ''].join(' ').trim();
      return el('td', { class: classes || undefined }, value.v === null || value.v === undefined ? dash
        : value.v instanceof Node ? value.v : String(value.v));
    };
    return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption || 'table' },
      el('table', {},
        el('thead', {}, el('tr', {}, head.map((h, i) => el('th', { scope: 'col', class: numeric[i] ? 'n' : undefined }, h.replace('#', ''))))),
        el('tbody', {}, rows.map(row => el('tr', {}, row.map(cell))))));
  }
  const choice = text => el('span', { class: 'choice' }, text || dash);

  // --- charts
  const charts = [];
  function base(spec) {
    const ink = css('--quiet'), grid = css('--grid');
    const axis = (a, more) => ({
      title: { display: !!a.title, text: a.title, color: ink, font: { size: 12 } }, min: a.min, max: a.max, grace: a.grace,
      type: a.type || 'linear', stacked: a.stacked, afterBuildTicks: a.at && (scale => { scale.ticks = a.at.map(value => ({ value })); }),
      ticks: { color: ink, font: { size: 11 }, maxRotation: 0, autoSkipPadding: 14, includeBounds: false, maxTicksLimit: a.labels ? Math.max(3, Math.floor(Math.min(innerWidth, 700) / 75)) : a.ticks || 8, precision: a.precision,
        callback: a.format || (value => +(+value).toPrecision(6)) }, // 94.1, not 94.10000000000001
      grid: { color: grid, drawOnChartArea: a.grid !== false, drawTicks: false, borderColor: grid }, ...more });
    const y = spec.y || {}, scales = { x: axis(spec.x || {}), y: axis(is(y.min) ? y : { grace: '5%', ...y }) }; // no point covers the figures below it
    if (spec.x && spec.x.labels) { scales.x.type = 'category'; scales.x.offset = true; delete scales.x.ticks.callback; }
    if (spec.y2) scales.y2 = axis({ grid: false, ...spec.y2 }, { position: 'right' });
    return {
      responsive: true, maintainAspectRatio: false, animation: false, normalized: true, parsing: spec.x && spec.x.labels ? undefined : false,
      layout: { padding: { top: spec.labels ? 16 : 6, right: spec.labels ? 14 : 6 } }, scales,
      interaction: spec.hover || { mode: 'index', intersect: false },
      plugins: { legend: { display: false }, gamutLabels: { on: !!spec.labels }, gamutCross: { group: spec.group },
        tooltip: { backgroundColor: css('--ink'), titleColor: css('--card'), bodyColor: css('--card'), padding: 10, boxPadding: 4,
          filter: item => item.raw !== null && is(item.parsed.y), itemSort: spec.reverse ? (a, b) => b.datasetIndex - a.datasetIndex : undefined,
          callbacks: spec.tooltip || {} } } };
  }
  // A series: {label, points, colour, area, stack, dash, shape, radius, line (false: points only), axis, width, names}
  function dataset(s) {
    const c = colour(s.colour);
    const d = { label: s.label, data: s.points, yAxisID: s.axis || 'y', type: s.type, borderColor: c, pointBorderColor: c, hidden: s.hidden,
      backgroundColor: s.area ? fade(c, s.stack ? 0.82 : 0.22) : s.soft ? fade(c, s.soft) : c, fill: s.area ? (s.stack ? 'stack' : 'origin') : false, stack: s.stack,
      borderDash: s.dash ? dashes[s.dash % dashes.length] : [], pointStyle: s.shape ? shapes[s.shape % shapes.length] : 'circle',
      borderWidth: s.width === undefined ? 2 : s.width, pointRadius: s.radius || 0, pointHoverRadius: Math.max(4, (s.radius || 0) + 1), pointHitRadius: 6,
      showLine: s.line !== false, tension: 0, stepped: s.stepped || false, spanGaps: true, clip: s.area ? 0 : 9, order: s.order || 0, names: s.names };
    if (s.soft) d.pointBackgroundColor = fade(c, s.soft);
    if (s.soft) d.pointBorderColor = fade(c, Math.min(1, s.soft + 0.15));
    if (s.ring) Object.assign(d, { pointBackgroundColor: 'transparent', pointBorderWidth: 2.5 });
    if (s.type === 'bar') Object.assign(d, { borderWidth: 0, borderRadius: 3, maxBarThickness: 46, categoryPercentage: 0.8, barPercentage: 0.9 });
    return d;
  }
  // Names beside points, each where it covers no other name.
  const labels = { id: 'gamutLabels', afterDatasetsDraw(chart, _, options) {
    if (!options.on) return;
    const { ctx, chartArea: area } = chart, taken = [];
    ctx.save();
    ctx.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
    ctx.fillStyle = css('--ink');
    ctx.strokeStyle = css('--card'); // a halo, so that a line behind does not cross the text out
    ctx.lineWidth = 3.5;
    ctx.lineJoin = 'round';
    ctx.textBaseline = 'middle';
    chart.data.datasets.forEach((d, i) => {
      if (!d.names || !chart.isDatasetVisible(i)) return;
      chart.getDatasetMeta(i).data.forEach((point, k) => {
        const text = d.names[k], width = text ? ctx.measureText(text).width : 0, { x, y } = point.getProps(['x', 'y'], true);
        if (!text) return;
        const gap = (d.pointRadius || 4) + 4, free = [[x + gap, y], [x - gap - width, y], [x - width / 2, y - 13], [x - width / 2, y + 14],
          [x + gap, y - 13], [x - gap - width, y - 13], [x + gap, y + 13], [x - gap - width, y + 13]]
          .map(([a, b]) => ({ x: Math.min(Math.max(a, area.left), area.right + 12 - width), y: b, w: width, h: 13 }))
          .find(r => r.y > 6 && r.y < area.bottom && !taken.some(t => r.x < t.x + t.w + 3 && t.x < r.x + r.w + 3 && Math.abs(t.y - r.y) < 13)
            && !(x > r.x - 6 && x < r.x + r.w + 6 && Math.abs(y - r.y) < 8));
        if (!free) return;
        taken.push(free);
        ctx.strokeText(text, free.x, free.y);
        ctx.fillText(text, free.x, free.y);
      });
    });
    ctx.restore();
  } };
  // One vertical line through all charts of the same time.
  const cross = { id: 'gamutCross', afterEvent(chart, { event }, { group }) {
    if (!group) return;
    const x = event.type === 'mouseout' ? null : chart.scales.x.getValueForPixel(event.x);
    for (const c of charts) if (c.group === group && c.at !== x) { c.at = x; if (c.chart !== chart) c.chart.draw(); }
  }, afterDatasetsDraw(chart, _, { group }) {
    const mine = charts.find(c => c.chart === chart);
    if (!group || !mine || !is(mine.at)) return;
    const { ctx, chartArea: area, scales } = chart, x = scales.x.getPixelForValue(mine.at);
    if (x < area.left || x > area.right) return;
    ctx.save();
    ctx.strokeStyle = css('--quiet');
    ctx.setLineDash([3, 3]);
    ctx.beginPath(); ctx.moveTo(x, area.top); ctx.lineTo(x, area.bottom); ctx.stroke();
    ctx.restore();
  } };
  Chart.register(labels, cross);

  function sample(s) { // the legend's picture of a series
    const c = colour(s.colour);
    if (s.area || s.type === 'bar') return svg('svg', { viewBox: '0 0 22 12', 'aria-hidden': 'true' },
      svg('rect', { x: 4, y: 0.5, width: 13, height: 11, rx: 2.5, fill: c, 'fill-opacity': s.stack || s.type === 'bar' ? 0.9 : 0.35, stroke: c }));
    const parts = [];
    if (s.line !== false) parts.push(svg('line', { x1: 0, x2: 22, y1: 6, y2: 6, stroke: c, 'stroke-width': 2.2, 'stroke-dasharray': dashes[(s.dash || 0) % dashes.length].join(' ') }));
    if (s.radius) {
      const at = { fill: s.ring ? 'none' : c, stroke: c, 'stroke-width': s.ring ? 2 : 1, 'fill-opacity': s.soft || 1 };
      parts.push([svg('circle', { cx: 11, cy: 6, r: 4, ...at }), svg('path', { d: 'M11 1.2 15.8 6 11 10.8 6.2 6Z', ...at }), svg('path', { d: 'M11 1.5 15.6 10H6.4Z', ...at }),
        svg('rect', { x: 7.3, y: 2.3, width: 7.4, height: 7.4, ...at }), svg('path', { d: 'M11 1.5V10.5M6.5 6H15.5M8 3l6 6M14 3l-6 6', ...at }),
        svg('path', { d: 'M7.5 2.5l7 7M14.5 2.5l-7 7', ...at, 'stroke-width': 2 })][(s.shape || 0) % 6]);
    }
    return svg('svg', { viewBox: '0 0 22 12', 'aria-hidden': 'true' }, ...parts);
  }

  function legend(handle) {
    const { spec, chart, legend: list } = handle;
    if (!list) return;
    list.replaceChildren(...spec.series.map((s, i) => s.unlisted ? null : el('li', {}, el('button', {
      type: 'button', 'aria-pressed': String(chart.isDatasetVisible(i)), title: 'Show or hide',
      onclick: event => {
        s.hidden = chart.isDatasetVisible(i);
        chart.setDatasetVisibility(i, !s.hidden);
        event.currentTarget.setAttribute('aria-pressed', String(!s.hidden));
        chart.update();
      } }, sample(s), s.label))).filter(Boolean));
  }

  // spec: {title, note, size, type, series, x, y, y2, labels, hover, tooltip, group, table: {head, rows}, aria}
  function chart(parent, spec) {
    const canvas = el('canvas', { role: 'img', 'aria-label': spec.aria || `${spec.title}. ${spec.note || ''}` });
    const list = spec.series.length > 1 || spec.legend ? el('ul', { class: 'legend', 'aria-label': 'Series' }) : null;
    const rows = el('div', {});
    const figure = el('figure', { class: `chart ${spec.size || ''}` },
      el('figcaption', {}, el('h3', {}, spec.title), spec.note ? el('p', {}, spec.note) : null), spec.controls, list,
      el('div', { class: 'canvas' }, canvas), spec.table ? el('details', {}, el('summary', {}, 'The same as a table'), rows) : null);
    parent.append(figure);
    const handle = { spec, group: spec.group, figure, legend: list, rows };
    handle.chart = new Chart(canvas, { type: spec.type || 'line', data: { labels: spec.x && spec.x.labels, datasets: spec.series.map(dataset) }, options: base(spec) });
    charts.push(handle);
    legend(handle);
    fillTable(handle);
    return handle;
  }
  function fillTable({ spec, rows }) {
    if (spec.table) rows.replaceChildren(table(spec.table.head, spec.table.rows, spec.title));
  }
  // New data in an existing chart; series are matched by position.
  function redraw(handle, changes) {
    const known = new Map(handle.spec.series.map(s => [s.label, s.hidden])), names = handle.spec.series.map(s => s.label).join('\n');
    Object.assign(handle.spec, changes);
    for (const s of handle.spec.series) if (s.hidden === undefined) s.hidden = known.get(s.label);
    handle.chart.data.labels = handle.spec.x && handle.spec.x.labels;
    handle.chart.data.datasets = handle.spec.series.map(dataset);
    handle.chart.options = base(handle.spec);
    handle.chart.update('none');
    if (names !== handle.spec.series.map(s => s.label).join('\n')) legend(handle);
    if (!handle.rows.parentNode || handle.rows.parentNode.open || !handle.rows.firstChild) fillTable(handle);
  }
  function repaint() {
    for (const handle of charts) { redraw(handle, {}); legend(handle); }
    decorate();
    for (const node of document.querySelectorAll('[data-ramp]')) node.style.background = ramp(Number(node.dataset.ramp));
  }
  const swatch = t => { const node = el('span', { class: 'swatch', 'data-ramp': t }); node.style.background = ramp(t); return node; };

  // The strip at the top and the mark: the range of subnets, small to large.
  function decorate() {
    const strip = document.querySelector('.strip'), mark = document.querySelector('.brand svg');
    const steps = [...Array(24).keys()].map(i => ramp(i / 23));
    if (strip) strip.replaceChildren(...steps.map(c => { const i = el('i'); i.style.background = c; return i; }));
    if (mark) mark.replaceChildren(...[0, 1, 2, 3].map(i => svg('rect', { x: 1 + i * 5.3, y: 14 - i * 4.4, width: 4, height: 7 + i * 4.4, rx: 1.4, fill: ramp(i / 3) })));
  }

  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  const printing = on => () => {
    root.classList.toggle('printing', on);
    repaint();
    for (const { chart: c } of charts) c.resize();
  };
  addEventListener('beforeprint', printing(true));
  addEventListener('afterprint', printing(false));
  decorate();
  return { el, num, short, sig, percent, time, top1, is, dash, table, choice, chart, redraw, swatch, ramp, charts };
})();
