// The functions that take the most time, sortable.

import { baseName, cpuTime, element, moduleHue, percent } from './format.js';

const MAX_ROWS = 300;

const COLUMNS = [
  { key: 'name', label: 'Function', compare: (a, b) => a.name.localeCompare(b.name) },
  { key: 'module', label: 'Module', compare: (a, b) => baseName(a.module).localeCompare(baseName(b.module)) },
  { key: 'self', label: 'Self', compare: (a, b) => b.self - a.self },
  { key: 'total', label: 'Total', compare: (a, b) => b.total - a.total },
];

export class FunctionTable {
  /** `onPick(name)` when a function is clicked. */
  constructor(container, onPick) {
    this.container = container;
    this.onPick = onPick;
    this.sort = 'self';
    this.reversed = false;
    this.functions = [];
    this.matches = null;
    this.whole = 0;
  }

  show(answer) {
    this.whole = answer.total_ns;
    this.functions = answer.functions.map(([frame, self, total]) => {
      const [name, module, kind] = answer.frames[frame];
      return { frame, name, module, kind, self, total };
    });
    this.render();
  }

  filter(matches) {
    this.matches = matches;
    this.render();
  }

  render() {
    const shown = this.matches ? this.functions.filter(this.matches) : [...this.functions];
    const { compare } = COLUMNS.find(({ key }) => key === this.sort);
    shown.sort(compare);
    if (this.reversed) shown.reverse();
    const table = element('table', 'functions');
    table.append(this.head(), element('tbody'));
    table.tBodies[0].append(...shown.slice(0, MAX_ROWS).map((row) => this.row(row)));
    this.container.replaceChildren(table);
    if (shown.length > MAX_ROWS) {
      this.container.append(element('p', 'more', `and ${shown.length - MAX_ROWS} more: search to narrow`));
    }
  }

  head() {
    const head = element('thead');
    const row = element('tr');
    for (const { key, label } of COLUMNS) {
      const cell = element('th', key);
      cell.scope = 'col';
      const sorted = key === this.sort;
      const rising = (key === 'self' || key === 'total') === this.reversed;
      if (sorted) cell.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
      const button = element('button', 'sort', label);
      button.type = 'button';
      button.dataset.sort = key;
      button.addEventListener('click', () => {
        this.reversed = sorted && !this.reversed;
        this.sort = key;
        this.render();
        this.container.querySelector(`button[data-sort=${key}]`)?.focus();
      });
      cell.append(button);
      row.append(cell);
    }
    head.append(row);
    return head;
  }

  row({ name, module, kind, self, total }) {
    const row = element('tr');
    Object.assign(row.dataset, { name, self, total });
    const function_ = element('td', 'name');
    const swatch = element('i', `swatch ${kind}`);
    swatch.style.setProperty('--hue', moduleHue(module, kind));
    const pick = element('button', 'link', name);
    pick.type = 'button';
    pick.title = `${name}\nShow in the flame graph`;
    pick.addEventListener('click', () => this.onPick(name));
    function_.append(swatch, pick);
    const where = element('td', 'module', kind === 'kernel' ? 'kernel' : baseName(module));
    where.title = module;
    row.append(function_, where, this.value('self', self), this.value('total', total));
    return row;
  }

  value(className, ns) {
    const cell = element('td', `value ${className}`);
    const share = this.whole > 0 ? ns / this.whole : 0;
    const bar = element('span', 'bar');
    bar.style.width = `${(share * 100).toFixed(2)}%`;
    cell.append(bar, element('span', 'percent', percent(share)), element('span', 'time', cpuTime(ns)));
    return cell;
  }
}
