// The flame graph: the API's nodes laid out as boxes, root on top. Only boxes of a pixel or more become elements.

import { baseName, cpuTime, element, hash, moduleHue, percent, shortName } from './format.js';

const ROW_PX = 20;
const MIN_PX = 1;
const MIN_TEXT_PX = 32;
const CHAR_PX = 6.5;

/** Nodes of /api/flame with their place: `start` in nanoseconds from the left, `end` the index after the subtree. */
export function layOut(answer) {
  const nodes = [];
  const open = [];
  for (const [depth, frame, self, total] of answer.nodes) {
    while (open.length > depth) close(open.pop(), nodes);
    const parent = open[open.length - 1];
    const [name, module, kind] = answer.frames[frame];
    const node = { index: nodes.length, depth, frame, name, module, kind, self, total, parent, start: 0, end: 0, filled: 0 };
    if (parent) {
      node.start = parent.start + parent.filled;
      parent.filled += total;
    }
    nodes.push(node);
    open.push(node);
  }
  while (open.length) close(open.pop(), nodes);
  return nodes;
}

function close(node, nodes) {
  node.end = nodes.length;
}

/** Nanoseconds under `root` in frames that match, nested matches counted once. */
export function matchedNs(nodes, root, matches) {
  for (let above = root; above; above = above.parent) {
    if (matches(above)) return root.total;
  }
  let sum = 0;
  for (let index = root.index; index < root.end;) {
    const node = nodes[index];
    if (matches(node)) sum += node.total;
    index = matches(node) ? node.end : index + 1;
  }
  return sum;
}

export class FlameGraph {
  /** `onZoom(node)` after every change of the zoomed frame. */
  constructor(container, tooltip, onZoom) {
    this.container = container;
    this.tooltip = tooltip;
    this.onZoom = onZoom;
    this.nodes = [];
    this.zoomed = null;
    this.focused = null;
    this.matches = null;
    this.boxes = new Map();
    container.addEventListener('click', (event) => this.withNode(event, (node) => this.zoom(node)));
    container.addEventListener('mousemove', (event) => this.hover(event));
    container.addEventListener('mouseleave', () => { tooltip.hidden = true; });
    container.addEventListener('keydown', (event) => this.key(event));
    container.addEventListener('blur', () => { tooltip.hidden = true; });
    new ResizeObserver(() => this.resized()).observe(container);
  }

  /** Shows other nodes; stays zoomed where the same path exists. */
  show(nodes) {
    const [zoomed, focused] = [pathOf(this.zoomed), this.focused && pathOf(this.focused)];
    this.nodes = nodes;
    this.zoomed = find(nodes, zoomed);
    this.focused = focused && find(nodes, focused);
    this.render();
    this.onZoom(this.zoomed);
  }

  zoom(node) {
    this.zoomed = node ?? this.nodes[0] ?? null;
    this.focused = this.zoomed;
    this.tooltip.hidden = true;
    this.render();
    this.onZoom(this.zoomed);
  }

  isZoomed() {
    return Boolean(this.zoomed?.parent);
  }

  /** Marks frames for which the predicate holds; `null` marks none. */
  highlight(matches) {
    this.matches = matches;
    for (const [node, box] of this.boxes) this.mark(node, box);
  }

  mark(node, box) {
    const hit = this.matches !== null && this.matches(node);
    box.classList.toggle('match', hit);
    box.classList.toggle('dim', this.matches !== null && !hit);
  }

  resized() {
    if (this.container.clientWidth !== this.width) this.render();
  }

  render() {
    this.boxes.clear();
    this.width = this.container.clientWidth;
    const fragment = document.createDocumentFragment();
    if (this.zoomed && this.width > 0) this.place(fragment);
    this.container.replaceChildren(fragment);
    if (this.focused) this.focusOn(this.focused);
  }

  place(fragment) {
    const root = this.zoomed;
    const scale = root.total > 0 ? this.width / root.total : 0;
    for (let above = root.parent; above; above = above.parent) {
      fragment.prepend(this.box(above, 0, this.width, true));
    }
    let deepest = root.depth;
    for (let index = root.index; index < root.end;) {
      const node = this.nodes[index];
      const width = node === root ? this.width : node.total * scale;
      if (width < MIN_PX) {
        index = node.end;
        continue;
      }
      fragment.append(this.box(node, (node.start - root.start) * scale, width, false));
      deepest = Math.max(deepest, node.depth);
      index += 1;
    }
    this.container.style.height = `${(deepest + 1) * ROW_PX}px`;
  }

  box(node, left, width, above) {
    const box = element('div', this.classOf(node, above));
    box.id = `frame-${node.index}`;
    box.style.cssText = `left:${left.toFixed(2)}px;width:${Math.max(width - 1, 1).toFixed(2)}px;top:${node.depth * ROW_PX}px;`
      + `--hue:${moduleHue(node.module, node.kind)};--shade:${(((hash(node.name) % 7) - 3) * 0.011).toFixed(3)}`;
    const data = box.dataset;
    data.index = node.index;
    data.name = node.name;
    data.module = node.module;
    data.kind = node.kind;
    data.self = node.self;
    data.total = node.total;
    if (width >= MIN_TEXT_PX) {
      box.textContent = width < node.name.length * CHAR_PX ? shortName(node.name) : node.name;
      box.setAttribute('role', 'treeitem');
      box.setAttribute('aria-level', node.depth + 1);
      box.setAttribute('aria-label', this.spoken(node));
    }
    this.boxes.set(node, box);
    return box;
  }

  classOf(node, above) {
    const hit = this.matches !== null && (this.matches(node) ? ' match' : ' dim');
    return `frame ${node.kind}${above ? ' above' : ''}${hit || ''}`;
  }

  spoken(node) {
    return `${node.name}, ${percent(node.total / this.nodes[0].total)}`;
  }

  withNode(event, then) {
    const box = event.target.closest('.frame');
    const node = box && this.nodes[Number(box.dataset.index)];
    if (node) then(node);
  }

  hover(event) {
    if (!event.target.closest('.frame')) this.tooltip.hidden = true;
    this.withNode(event, (node) => this.explain(node, event.clientX, event.clientY));
  }

  explain(node, x, y) {
    const whole = this.nodes[0].total;
    const tip = this.tooltip;
    tip.replaceChildren(element('strong', '', node.name));
    const kinds = { kernel: 'kernel', service: 'service', other: 'frames too small to show', root: '' };
    const where = [kinds[node.kind] ?? '', node.module].filter(Boolean).join(' · ');
    if (where) tip.append(element('span', 'where', where));
    const numbers = element('dl');
    const row = (label, ns) => {
      numbers.append(element('dt', '', label), element('dd', '', percent(ns / whole)), element('dd', 'time', cpuTime(ns)));
    };
    row('Total', node.total);
    row('Self', node.self);
    tip.append(numbers);
    if (this.isZoomed() && node.depth >= this.zoomed.depth) {
      tip.append(element('span', 'where', `${percent(node.total / this.zoomed.total)} of ${this.zoomed.name}`));
    }
    tip.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 18 + height > innerHeight - 8 ? Math.max(8, y - height - 12) : y + 18}px`;
  }

  key(event) {
    const node = this.focused ?? this.zoomed;
    if (!node) return;
    const to = {
      ArrowUp: () => node.parent,
      ArrowDown: () => this.childrenOf(node).sort((a, b) => b.total - a.total)[0],
      ArrowLeft: () => this.sibling(node, -1),
      ArrowRight: () => this.sibling(node, 1),
    }[event.key];
    if (to) {
      event.preventDefault();
      const next = to();
      if (next && this.boxes.has(next)) this.focusOn(next, true);
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      this.zoom(node);
    }
  }

  childrenOf(node) {
    const children = [];
    for (let index = node.index + 1; index < node.end; index = this.nodes[index].end) children.push(this.nodes[index]);
    return children;
  }

  sibling(node, step) {
    if (!node.parent) return null;
    const siblings = this.childrenOf(node.parent);
    return siblings[siblings.indexOf(node) + step];
  }

  focusOn(node, explain = false) {
    this.container.querySelector('.frame.focused')?.classList.remove('focused');
    const box = this.boxes.get(node);
    this.focused = box ? node : null;
    if (!box) return;
    box.classList.add('focused');
    box.setAttribute('role', 'treeitem');
    box.setAttribute('aria-label', this.spoken(node));
    this.container.setAttribute('aria-activedescendant', box.id);
    if (!explain) return;
    box.scrollIntoView({ block: 'nearest' });
    const place = box.getBoundingClientRect();
    this.explain(node, place.left, place.bottom - 10);
  }
}

function pathOf(node) {
  const path = [];
  for (let at = node; at?.parent; at = at.parent) path.unshift(at);
  return path;
}

/** The node at the end of the path, or of as much of it as exists. */
function find(nodes, path) {
  let at = nodes[0] ?? null;
  if (!at) return null;
  for (const step of path) {
    let next = null;
    for (let index = at.index + 1; index < at.end && !next; index = nodes[index].end) {
      if (nodes[index].name === step.name && nodes[index].module === step.module) next = nodes[index];
    }
    if (!next) break;
    at = next;
  }
  return at;
}

/** The modules that take the most time themselves, as coloured chips. */
export function legend(container, { modules, total_ns: whole }) {
  container.replaceChildren(...modules.map(([module, kind, self]) => {
    const chip = element('span', 'chip');
    const colour = element('i', `swatch ${kind}`);
    colour.style.setProperty('--hue', moduleHue(module, kind));
    chip.append(colour, element('span', 'chip-name', baseName(module)), element('b', '', percent(self / whole)));
    chip.title = module;
    return chip;
  }));
}
