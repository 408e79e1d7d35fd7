// The page: what is chosen, loading it, and the parts that show it. Names from profiles are only ever text.

import { FlameGraph, layOut, legend, matchedNs } from './flame.js';
import { bytes, clock, cores, count, cpuTime, element, percent } from './format.js';
import { ServiceList } from './services.js';
import { FunctionTable } from './table.js';
import { Timeline } from './timeline.js';

const RANGES = ['1m', '5m', '15m', '1h'];
const MIN_REFRESH_MS = 2000;
const RETRY_MS = 3000;

const at = (id) => document.getElementById(id);
const chosen = fromHash();
let services = null;
let flame = null;
let nodes = [];
let loading = null;
let timer = 0;
let revealed = false;
let matches = null;

const graph = new FlameGraph(at('flame'), at('tooltip'), () => showPath());
const table = new FunctionTable(at('table-panel'), (name) => {
  search(name, false);
  choose({ tab: 'flame' }, false);
});
const list = new ServiceList(at('services'), (pick) => {
  choose({ service: undefined, pid: undefined, tid: undefined, ...pick });
});
const timeline = new Timeline(at('timeline'), (from, to) => {
  at('auto').checked = false;
  choose({ range: undefined, from, to });
});

/** What the address says: `#range=15m&service=a&pid=1&tid=2&tab=table&q=text&re=1`, or `from` and `to`. */
function fromHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const number = (key) => (/^\d{1,15}$/.test(hash.get(key) ?? '') ? Number(hash.get(key)) : undefined);
  const [from, to] = [number('from'), number('to')];
  const custom = from !== undefined && to !== undefined;
  const range = custom ? undefined : RANGES.find((name) => name === hash.get('range')) ?? '15m';
  return {
    range, from: custom ? from : undefined, to: custom ? to : undefined,
    service: hash.get('service') ?? undefined, pid: number('pid'), tid: number('tid'),
    tab: hash.get('tab') === 'table' ? 'table' : 'flame', q: hash.get('q') ?? '', re: hash.get('re') ? 1 : undefined,
  };
}

function writeHash() {
  const hash = new URLSearchParams();
  for (const key of ['range', 'from', 'to', 'service', 'pid', 'tid', 'tab', 'q', 're']) {
    const value = chosen[key];
    if (value !== undefined && value !== '' && !(key === 'tab' && value === 'flame')) hash.set(key, value);
  }
  // Without the query: a token in it has become a cookie by now and shall not stay in sight.
  history.replaceState(null, '', `${location.pathname}#${hash}`);
}

function choose(change, reload = true) {
  if ('service' in change || 'pid' in change || 'tid' in change) [graph.zoomed, graph.focused] = [null, null];
  Object.assign(chosen, change);
  if (change.range) Object.assign(chosen, { from: undefined, to: undefined });
  writeHash();
  showChoice();
  if (reload) load();
}

function query() {
  const parameters = new URLSearchParams();
  parameters.set('from', chosen.range ? `now-${chosen.range}` : chosen.from);
  parameters.set('to', chosen.range ? 'now' : chosen.to);
  return parameters;
}

function selectionQuery() {
  const parameters = query();
  for (const key of ['service', 'pid', 'tid']) {
    if (chosen[key] !== undefined) parameters.set(key, chosen[key]);
  }
  return parameters;
}

async function get(path, parameters, signal) {
  const response = await fetch(`${path}?${parameters}`, { signal });
  if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
  return response.json();
}

async function load() {
  loading?.abort();
  const mine = new AbortController();
  loading = mine;
  clearTimeout(timer);
  try {
    const answers = await Promise.all([
      get('/api/services', query(), mine.signal), get('/api/flame', selectionQuery(), mine.signal),
    ]);
    if (loading !== mine) return;
    [services, flame] = answers;
    services.received = Date.now();
    at('error').hidden = true;
    show();
    again();
  } catch (error) {
    if (loading !== mine || error.name === 'AbortError') return;
    at('error').textContent = `The agent does not answer (${error.message}). Trying again …`;
    at('error').hidden = false;
    timer = setTimeout(load, RETRY_MS);
  }
}

/** Loads again shortly after the next window closes. */
function again() {
  clearTimeout(timer);
  if (!at('auto').checked || document.hidden || !services) return;
  const wait = services.next_window - services.now + 500 - (Date.now() - services.received);
  timer = setTimeout(load, Math.max(wait, MIN_REFRESH_MS));
}

function show() {
  const { host, frequency_hz: hertz, cpus, version } = services;
  at('host').textContent = host || 'Profiler';
  document.title = host ? `${host} · Profiler` : 'Profiler';
  at('meta').textContent = [hertz && `${hertz} Hz`, cpus && `${cpus} CPUs`, version && `v${version}`].filter(Boolean).join(' · ');
  const used = services.covered_ns > 0 ? services.cpu_ns / services.covered_ns : 0;
  at('services-sum').textContent = services.cpu_ns > 0 ? cores(used) : '';
  timeline.show(services);
  if (!revealed) list.reveal(services, picked());
  revealed = true;
  list.show(services, picked());
  nodes = layOut(flame);
  graph.show(nodes);
  table.show(flame);
  if (nodes.length) legend(at('legend'), flame);
  showChoice();
  applySearch();
  showFoot();
}

function picked() {
  return { service: chosen.service, pid: chosen.pid, tid: chosen.tid };
}

function showChoice() {
  for (const button of at('ranges').children) {
    button.setAttribute('aria-pressed', button.dataset.range === chosen.range);
  }
  if (services) {
    const from = Math.max(services.from, services.windows[0]?.[0] ?? services.from);
    at('range-text').textContent = `${clock(from)} – ${clock(services.to)}`;
    list.show(services, picked());
  }
  at('download-pprof').href = `/download.pb.gz?${selectionQuery()}`;
  at('download-folded').href = `/download.folded?${selectionQuery()}`;
  const isEmpty = showEmpty();
  for (const name of ['flame', 'table']) {
    at(`tab-${name}`).setAttribute('aria-selected', chosen.tab === name);
    at(`tab-${name}`).tabIndex = chosen.tab === name ? 0 : -1;
    at(`${name}-panel`).hidden = isEmpty || chosen.tab !== name;
  }
  at('legend').hidden = isEmpty || chosen.tab !== 'flame';
  at('view').setAttribute('aria-busy', flame === null);
  showPath();
}

/** Says why there is nothing to see; returns whether that is so. */
function showEmpty() {
  const isEmpty = flame !== null && flame.total_ns === 0;
  at('empty').hidden = !isEmpty;
  if (!isEmpty) return flame === null;
  const action = at('empty-action');
  action.hidden = true;
  if (services.windows.length === 0) {
    at('empty-title').textContent = 'No samples yet';
    const seconds = Math.max(Math.ceil((services.next_window - services.now - (Date.now() - services.received)) / 1000), 0);
    at('empty-text').textContent = seconds > 0 ? `The first window closes in ${seconds} s.` : 'The first window is closing …';
  } else if (services.cpu_ns === 0) {
    at('empty-title').textContent = 'No samples in this time range';
    at('empty-text').textContent = 'Nothing ran on a CPU, or the agent was not running. Choose another range above.';
  } else {
    at('empty-title').textContent = 'No samples of this selection';
    at('empty-text').textContent = 'It did not run on a CPU in this time range.';
    action.textContent = 'Show all services';
    action.hidden = false;
  }
  return true;
}

/** Breadcrumbs from the selection to the zoomed frame. */
function showPath() {
  const zoomed = chosen.tab === 'flame' ? graph.zoomed : nodes[0];
  const crumbs = [];
  const crumb = (text, then) => {
    const button = element('button', 'crumb', text);
    button.type = 'button';
    button.addEventListener('click', then);
    crumbs.push(button);
  };
  crumb('All services', () => choose({ service: undefined, pid: undefined, tid: undefined }));
  if (chosen.service !== undefined) crumb(chosen.service, () => choose({ pid: undefined, tid: undefined }));
  if (chosen.pid !== undefined) crumb(`pid ${chosen.pid}`, () => choose({ tid: undefined }));
  if (chosen.tid !== undefined) crumb(`tid ${chosen.tid}`, () => graph.zoom());
  if (zoomed?.parent) crumb(zoomed.name, () => graph.zoom(zoomed));
  crumbs[crumbs.length - 1].setAttribute('aria-current', 'true');
  at('crumbs').replaceChildren(...crumbs);
  at('reset').hidden = !zoomed?.parent;
  const share = zoomed?.parent ? `${percent(zoomed.total / nodes[0].total)} · ` : '';
  at('summary').textContent = zoomed?.total > 0 ? `${share}${cpuTime(zoomed.total)} of CPU time · ${count(flame.samples)} samples` : '';
  showMatch();
}

/** A predicate on frames for what is in the search box, computed once per distinct frame; `null` when empty. */
function predicate() {
  if (!chosen.q || !flame) return null;
  const text = chosen.q.toLowerCase();
  const pattern = chosen.re ? new RegExp(chosen.q, 'i') : null;
  const isFunction = (kind) => kind !== 'root' && kind !== 'service' && kind !== 'other';
  const hits = flame.frames.map(([name, , kind]) => {
    return isFunction(kind) && (pattern ? pattern.test(name) : name.toLowerCase().includes(text));
  });
  return ({ frame }) => hits[frame];
}

function applySearch() {
  if (at('search').value !== chosen.q) at('search').value = chosen.q;
  at('regex').setAttribute('aria-pressed', Boolean(chosen.re));
  let wrong = false;
  try {
    matches = predicate();
  } catch {
    [matches, wrong] = [null, true];
  }
  at('search').setAttribute('aria-invalid', wrong);
  graph.highlight(matches);
  table.filter(matches);
  showMatch(wrong);
}

function showMatch(wrong = false) {
  const root = chosen.tab === 'flame' ? graph.zoomed : nodes[0];
  const share = matches && root && root.total > 0 ? matchedNs(nodes, root, matches) / root.total : 0;
  at('match').textContent = wrong ? 'not a regular expression' : matches ? `${percent(share)} matched` : '';
  at('match').dataset.share = matches ? share.toFixed(5) : '';
}

function search(text, re) {
  Object.assign(chosen, { q: text, re: re ? 1 : undefined });
  writeHash();
  applySearch();
}

function showFoot() {
  const { ledger } = services;
  const parts = [
    `${count(ledger.taken)} samples taken`, `${count(ledger.exported)} kept or exported`,
    `${count(ledger.pending)} pending`, `${count(ledger.dropped)} dropped`,
  ];
  if (ledger.spooled > 0) parts.splice(2, 0, `${count(ledger.spooled)} spooled`);
  at('ledger').textContent = parts.join(' · ');
  at('memory').textContent = `last hour in ${bytes(services.history_bytes)} of memory · / search · Esc reset`;
}

at('ranges').addEventListener('click', ({ target }) => {
  if (!target.dataset.range) return;
  at('auto').checked = true;
  choose({ range: target.dataset.range });
});
at('auto').addEventListener('change', () => {
  // A fixed range has no now to follow.
  if (at('auto').checked) choose({ range: chosen.range ?? '15m' });
  else clearTimeout(timer);
});
at('search').addEventListener('input', () => search(at('search').value, chosen.re));
at('regex').addEventListener('click', () => search(chosen.q, !chosen.re));
at('reset').addEventListener('click', () => graph.zoom());
at('empty-action').addEventListener('click', () => choose({ service: undefined, pid: undefined, tid: undefined }));
for (const name of ['flame', 'table']) {
  at(`tab-${name}`).addEventListener('click', () => choose({ tab: name }, false));
  at(`tab-${name}`).addEventListener('keydown', ({ key }) => {
    if (key !== 'ArrowLeft' && key !== 'ArrowRight') return;
    choose({ tab: name === 'flame' ? 'table' : 'flame' }, false);
    at(`tab-${chosen.tab}`).focus();
  });
}
document.addEventListener('keydown', (event) => {
  const typing = document.activeElement === at('search');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    at('search').focus();
    at('search').select();
  } else if (event.key === 'Escape') {
    at('tooltip').hidden = true;
    if (typing) at('search').blur();
    if (chosen.q) search('', chosen.re);
    else graph.zoom();
  }
});
document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : at('auto').checked && load()));
window.addEventListener('hashchange', () => {
  Object.assign(chosen, fromHash());
  showChoice();
  load();
});
setInterval(() => { if (flame !== null && flame.total_ns === 0) showEmpty(); }, 500);

at('auto').checked = chosen.range !== undefined;
writeHash();
showChoice();
load();
