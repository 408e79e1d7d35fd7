// CPU use per window as bars. Dragging chooses a time range.

import { clock, cores, element } from './format.js';

const MIN_BAR_PX = 4;
const MIN_SPAN_MS = 120_000;
const MIN_DRAG_PX = 5;
const SVG = 'http://www.w3.org/2000/svg';

export class Timeline {
  /** `onPick(from, to)` in Unix milliseconds after a drag or a key. */
  constructor(container, onPick) {
    this.container = container;
    this.bars = container.querySelector('svg');
    this.axis = container.querySelector('#timeline-axis');
    this.scale = container.querySelector('#timeline-scale');
    this.onPick = onPick;
    this.drag = null;
    this.bars.addEventListener('pointerdown', (event) => this.down(event));
    this.bars.addEventListener('pointermove', (event) => this.move(event));
    this.bars.addEventListener('pointerup', (event) => this.up(event));
    this.bars.addEventListener('pointercancel', () => { this.drag = null; this.render(); });
    container.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(container);
  }

  /** Windows are `[start, length, samples, CPU ns]`; the span chosen is shown bright. */
  show({ windows, now, from, to, interval_ms: interval }) {
    Object.assign(this, { windows, now, from, to, interval });
    if (!this.drag) this.render();
  }

  render() {
    if (!this.windows || this.bars.clientWidth === 0) return;
    const { clientWidth: width, clientHeight: height } = this.bars;
    this.end = this.now;
    this.start = Math.min(this.windows[0]?.[0] ?? this.now, this.end - MIN_SPAN_MS);
    const [from, to] = this.drag ? this.dragSpan() : [Math.max(this.from, this.start), this.to];
    const bins = this.bin(width);
    const highest = Math.max(...bins.map(({ used }) => used), 0);
    const shapes = [];
    if (bins.length) shapes.push(rect('chosen', this.x(from), 0, Math.max(this.x(to) - this.x(from), 1), height));
    for (const bin of bins) {
      const tall = highest > 0 ? Math.max((bin.used / highest) * (height - 4), bin.used > 0 ? 1.5 : 0) : 0;
      const left = this.x(bin.start);
      const inside = bin.start + bin.length / 2 >= from && bin.start + bin.length / 2 <= to;
      const wide = Math.max(this.x(bin.start + bin.length) - left - 1, 1);
      shapes.push(rect(inside ? 'bar in' : 'bar', left, height - tall, wide, tall));
    }
    for (const edge of bins.length ? [from, to] : []) shapes.push(rect('edge', Math.min(this.x(edge), width - 1), 0, 1, height));
    this.bars.replaceChildren(...shapes);
    this.scale.textContent = highest > 0 ? `peak ${cores(highest)}` : '';
    this.labels();
  }

  /** Windows in groups wide enough to be seen, each with its mean number of CPUs in use. */
  bin(width) {
    const perBar = Math.max(this.interval, ((this.end - this.start) / width) * MIN_BAR_PX);
    const group = Math.ceil(perBar / this.interval - 0.01);
    const bins = [];
    for (let first = 0; first < this.windows.length; first += group) {
      const part = this.windows.slice(first, first + group);
      const last = part[part.length - 1];
      const covered = part.reduce((sum, window) => sum + window[1], 0);
      const used = part.reduce((sum, window) => sum + window[3], 0);
      bins.push({
        start: part[0][0], length: last[0] + last[1] - part[0][0],
        used: covered > 0 ? used / (covered * 1e6) : 0,
      });
    }
    return bins;
  }

  labels() {
    const count = 5;
    const span = this.end - this.start;
    this.axis.replaceChildren(...Array.from({ length: count }, (_, index) => {
      return element('span', '', clock(this.start + (span * index) / (count - 1), span < 600_000));
    }));
  }

  x(ms) {
    const share = (ms - this.start) / (this.end - this.start);
    return Math.min(Math.max(share, 0), 1) * this.bars.clientWidth;
  }

  time(event) {
    const { left, width } = this.bars.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - left) / width, 0), 1);
    return this.start + share * (this.end - this.start);
  }

  dragSpan() {
    return [Math.min(this.drag.from, this.drag.to), Math.max(this.drag.from, this.drag.to)];
  }

  down(event) {
    if (!this.windows || event.button !== 0) return;
    this.bars.setPointerCapture(event.pointerId);
    const at = this.time(event);
    this.drag = { from: at, to: at, x: event.clientX };
  }

  move(event) {
    if (!this.drag) return;
    this.drag.to = this.time(event);
    this.render();
  }

  up(event) {
    if (!this.drag) return;
    this.move(event);
    const [from, to] = this.dragSpan();
    const far = Math.abs(event.clientX - this.drag.x) >= MIN_DRAG_PX;
    this.drag = null;
    if (far) this.onPick(Math.floor(from), Math.ceil(to));
    else this.render();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.windows) return;
    event.preventDefault();
    const by = step * Math.max(this.interval, (this.end - this.start) / 60);
    const to = Math.max(this.to + by, this.start + this.interval);
    this.onPick(Math.floor(event.shiftKey ? this.from : this.from + by), Math.ceil(to));
  }
}

function rect(className, x, y, width, height) {
  const shape = document.createElementNS(SVG, 'rect');
  shape.setAttribute('class', className);
  for (const [name, value] of Object.entries({ x, y, width, height })) shape.setAttribute(name, value.toFixed(1));
  return shape;
}
