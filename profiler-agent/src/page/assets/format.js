// Numbers, times and colours as text. Pure, except for `element`.

/** A new element. Text goes in as text: names come from profiled programs. */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** 0.1234 as "12.3%". */
export function percent(share) {
  if (!(share > 0)) return '0%';
  const value = share * 100;
  if (value < 0.01) return '<0.01%';
  if (value >= 99.95) return '100%';
  return `${value.toFixed(value < 1 ? 2 : 1)}%`;
}

/** CPU nanoseconds as "1.25 s". */
export function cpuTime(ns) {
  const units = [[3600e9, 'h'], [60e9, 'min'], [1e9, 's'], [1e6, 'ms'], [1e3, 'µs']];
  for (const [size, unit] of units) {
    if (ns >= size) return `${short(ns / size)} ${unit}`;
  }
  return `${ns} ns`;
}

/** A share of one CPU as "0.42 cores". */
export function cores(value) {
  if (!(value > 0)) return '0 cores';
  return value < 0.01 ? '<0.01 cores' : `${short(value)} cores`;
}

/** Three digits that say something. */
export function short(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(count) {
  return count >= 1048576 ? `${short(count / 1048576)} MiB` : `${short(count / 1024)} KiB`;
}

export function count(number) {
  return number.toLocaleString('en-US');
}

/** Unix milliseconds as local "14:03:20". */
export function clock(ms, seconds = true) {
  const options = { hour: '2-digit', minute: '2-digit', hour12: false };
  if (seconds) options.second = '2-digit';
  return new Date(ms).toLocaleTimeString('en-GB', options);
}

/** The last part of a path; names in brackets as they are. */
export function baseName(path) {
  return path.slice(path.lastIndexOf('/') + 1) || path;
}

/** A Go function without the path of its package: what tells it apart comes last. */
export function shortName(name) {
  return name.replace(/^[\w.~%-]+\/(?:[\w.~%-]+\/)*(?=[\w-]+\.)/, '');
}

/** FNV-1a: the same text has the same colour in every session. */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  // FNV's low bits move little for short texts: mix once more.
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return (value ^ (value >>> 12)) >>> 0;
}

// OKLCH degrees, apart from each other and from the blue of the kernel.
const HUES = [50, 78, 28, 108, 5, 150, 330, 64, 92, 130, 305, 180];

/** Hue of a module's frames. */
export function moduleHue(module, kind) {
  return kind === 'kernel' ? 252 : HUES[hash(baseName(module)) % HUES.length];
}
