// Spans of text. The server counts characters as Python does (code points); JavaScript's strings
// count UTF-16 units, so a text with an emoji would be marked beside the word. Spans are turned once.

import { el } from "./dom.js";

const SURROGATE = /[\ud800-\udfff]/;
const AROUND = 60;
const WINDOW = 320;
const MAX_CONSIDERED = 500;

/** Spans [[start, end], ...] of code points, ascending and disjoint, as spans of UTF-16 units. */
export function toUnits(text, spans) {
  if (!SURROGATE.test(text)) return spans.map(([start, end]) => [clamp(start, text), clamp(end, text)]);
  const units = [];
  let point = 0;
  let unit = 0;
  const unitOf = (wanted) => {
    while (point < wanted && unit < text.length) {
      unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
      point += 1;
    }
    return unit;
  };
  for (const [start, end] of spans) units.push([unitOf(start), unitOf(end)]);
  return units;
}

function clamp(offset, text) {
  return Math.max(0, Math.min(offset, text.length));
}

/** The part of text[from:to] worth showing: [start, end] around most of the different marked words. */
export function window(text, marks, from, to, size = WINDOW) {
  if (to - from <= size) return [from, to];
  const inside = marks.filter(([start, end]) => start >= from && end <= to).slice(0, MAX_CONSIDERED);
  let best = from;
  let most = 0;
  inside.forEach(([start], first) => {
    const words = new Set();
    for (let i = first; i < inside.length && inside[i][1] <= start + size - AROUND; i += 1) {
      words.add(text.slice(...inside[i]).toLowerCase());
    }
    if (words.size > most) [best, most] = [start, words.size];
  });
  let start = Math.max(from, most ? best - AROUND : from);
  let end = Math.min(to, start + size);
  if (end === to) start = Math.max(from, to - size);
  if (start > from) start = wordStart(text, start, most ? best : start);
  if (end < to) end = wordEnd(text, end, marks);
  return [start, end];
}

/** The first start of a word at or after `start`, not beyond `limit`; never inside a pair. */
function wordStart(text, start, limit) {
  for (let at = start; at < limit; at += 1) if (/\s/.test(text[at - 1])) return at;
  return isLow(text, start) ? start - 1 : start;
}

/** The end of the last whole word before `end`, or beyond the mark that `end` would cut. */
function wordEnd(text, end, marks) {
  const cut = marks.find(([from, to]) => from < end && to > end);
  if (cut) return cut[1];
  for (let at = end; at > end - 30; at -= 1) if (/\s/.test(text[at])) return at;
  return isLow(text, end) ? end + 1 : end;
}

function isLow(text, at) {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** text[from:to] as nodes, with <mark> where marks say so. */
export function marked(text, marks, from = 0, to = text.length) {
  const nodes = [];
  let at = from;
  for (const [start, end] of marks) {
    const [first, last] = [Math.max(start, at), Math.min(end, to)];
    if (first >= last) continue;
    if (first > at) nodes.push(text.slice(at, first));
    nodes.push(el("mark", null, text.slice(first, last)));
    at = last;
  }
  if (at < to) nodes.push(text.slice(at, to));
  return nodes;
}

/** A score with as many digits as tell hits apart. */
export function number(value) {
  if (typeof value !== "number") return String(value ?? "–");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 100 ? value.toFixed(1) : Math.abs(value) >= 10 ? value.toFixed(2) : value.toFixed(3);
}

/** Milliseconds. */
export function milliseconds(value) {
  return `${value >= 100 ? Math.round(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

/** "1 hit", "2 hits". */
export function counted(n, noun) {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}
