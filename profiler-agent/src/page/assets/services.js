// The list of services, each with its processes, each with its threads.

import { cores, cpuTime, element, percent } from './format.js';

export class ServiceList {
  /** `onPick({service, pid, tid})` when a row is clicked. */
  constructor(container, onPick) {
    this.container = container;
    this.onPick = onPick;
    this.expanded = new Set();
  }

  /** Shows the answer of /api/services with the picked row marked. Focus stays where it was. */
  show(answer, picked) {
    const focusKey = document.activeElement?.closest?.('#services li') && document.activeElement.dataset.key;
    this.answer = answer;
    this.picked = picked;
    const all = { key: 'all', name: 'All services', ns: answer.cpu_ns, pick: {}, className: 'all', children: [] };
    const rows = [all, ...answer.services.map((service) => this.service(service))];
    this.container.replaceChildren(...rows.map((row) => this.item(row)));
    if (focusKey) {
      [...this.container.querySelectorAll('button')].find((button) => button.dataset.key === focusKey)?.focus();
    }
  }

  service(service) {
    const key = `s:${service.name}`;
    return {
      key, name: service.name, ns: service.cpu_ns, className: 'service', data: { service: service.name },
      pick: { service: service.name }, more: moreText(service.more_processes, 'process', 'processes'),
      title: service.labels.map(([label, value]) => `${label}=${value}`).join('\n'),
      children: service.processes.map((process) => this.process(service.name, process)),
    };
  }

  process(service, process) {
    const { pid, name } = process;
    return {
      key: `p:${service}:${pid}:${name}`, name, id: pid, ns: process.cpu_ns, className: 'process', data: { pid },
      pick: { service, pid }, more: moreText(process.more_threads, 'thread', 'threads'),
      children: process.threads.map((thread) => ({
        key: `t:${service}:${pid}:${thread.tid}`, name: thread.name, id: thread.tid, ns: thread.cpu_ns,
        className: 'thread', data: { tid: thread.tid }, pick: { service, pid, tid: thread.tid }, children: [],
      })),
    };
  }

  item(row) {
    const item = element('li', row.className);
    Object.assign(item.dataset, row.data ?? {});
    const open = this.expanded.has(row.key);
    const line = element('div', 'row');
    line.append(row.children.length ? this.toggle(row, open) : element('span', 'no-toggle'), this.button(row));
    item.append(line);
    if (open && row.children.length) {
      const list = element('ul');
      list.append(...row.children.map((child) => this.item(child)));
      if (row.more) list.append(element('li', 'more', row.more));
      item.append(list);
    }
    return item;
  }

  toggle(row, open) {
    const toggle = element('button', 'toggle');
    toggle.type = 'button';
    toggle.dataset.key = `toggle:${row.key}`;
    toggle.setAttribute('aria-expanded', open);
    toggle.setAttribute('aria-label', `${open ? 'Hide' : 'Show'} parts of ${row.name}`);
    toggle.addEventListener('click', () => {
      if (!this.expanded.delete(row.key)) this.expanded.add(row.key);
      this.show(this.answer, this.picked);
    });
    return toggle;
  }

  button(row) {
    const share = this.answer.cpu_ns > 0 ? row.ns / this.answer.cpu_ns : 0;
    const button = element('button', 'pick');
    button.type = 'button';
    button.dataset.key = row.key;
    button.dataset.share = share.toFixed(5);
    button.setAttribute('aria-pressed', same(row.pick, this.picked));
    const name = [element('span', 'name', row.name)];
    if (row.id !== undefined) name.push(element('span', 'id', String(row.id)));
    const bar = element('span', 'bar');
    bar.style.width = `${(share * 100).toFixed(2)}%`;
    const used = this.answer.covered_ns > 0 ? row.ns / this.answer.covered_ns : 0;
    button.append(bar, ...name, element('span', 'percent', percent(share)), element('span', 'cores', cores(used)));
    button.title = [row.name, row.title, `${cpuTime(row.ns)} of CPU time`].filter(Boolean).join('\n');
    button.addEventListener('click', () => this.onPick(row.pick));
    return button;
  }

  /** Opens the rows above the picked one, so that a link shows what it points to. */
  reveal(answer, picked) {
    if (picked.service !== undefined && picked.pid !== undefined) this.expanded.add(`s:${picked.service}`);
    if (picked.tid === undefined) return;
    const service = answer.services.find(({ name }) => name === picked.service);
    const process = service?.processes.find(({ pid }) => pid === picked.pid);
    if (process) this.expanded.add(`p:${picked.service}:${process.pid}:${process.name}`);
  }
}

function same(a, b) {
  return a.service === b.service && a.pid === b.pid && a.tid === b.tid;
}

function moreText(count, one, many) {
  return count > 0 ? `and ${count} more ${count === 1 ? one : many}` : '';
}
