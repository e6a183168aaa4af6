// Where a score and the time come from. Nothing here knows a kind of index or stage by name: what
// the server explains is shown by its shape, so a new kind needs no change.

import { el } from "./dom.js";
import { milliseconds, number } from "./text.js";

const TONES = 6;
const tones = new Map();

/** The same name has the same colour everywhere on the page. */
function tone(name) {
  const [step, ...rest] = name.split(".");
  const plain = rest.join(".") || step; // encode.dense and retrieve.dense are two steps of one index
  if (!tones.has(plain)) tones.set(plain, tones.size % TONES);
  return `tone-${tones.get(plain)}${step === "encode" ? " pale" : ""}`;
}

/** Parts of a whole as a bar and its legend; parts: [[name, value], ...]. */
function bar(parts, label, written) {
  const whole = parts.reduce((sum, [, value]) => sum + Math.max(0, value), 0);
  const strip = el("div", { class: "bar", "aria-hidden": "true" }, parts.map(([name, value]) => {
    const piece = el("span", { class: tone(name) });
    piece.style.flexGrow = whole > 0 ? String(Math.max(0, value) / whole) : "0";
    return piece;
  }));
  const legend = el("ul", { class: "legend", "aria-label": label }, parts.map(([name, value]) =>
    el("li", null, el("span", { class: `swatch ${tone(name)}`, "aria-hidden": "true" }), `${name} `, el("b", null, written(value)))));
  return [strip, legend];
}

/** The parts of a search's time. */
export function timings(result) {
  const parts = Object.entries(result.timings_ms ?? {});
  return parts.length === 0 ? [] : bar(parts, "Time by stage", milliseconds);
}

/** Which stage gave which score and why. */
export function explanation(explained) {
  const stages = Object.entries(explained ?? {});
  if (stages.length === 0) return [el("p", { class: "dim" }, "No stage explained this hit.")];
  return stages.map(([name, value]) => (isParts(value) ? contributions(name, value) : stage(name, value)));
}

function isParts(value) {
  return isObject(value) && !("rank" in value) && !("score" in value)
    && Object.values(value).length > 0 && Object.values(value).every((part) => typeof part === "number");
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function contributions(name, parts) {
  return el("section", { class: "stage" },
    el("h4", null, name, el("span", { class: "dim" }, " what each list added")),
    bar(Object.entries(parts), `What each list added in ${name}`, number));
}

function stage(name, value) {
  if (!isObject(value)) {
    const shown = isTable(value) ? table(value, name) : el("p", null, plain(value));
    return el("section", { class: "stage" }, el("h4", null, name), shown);
  }
  const { rank, score, ...rest } = value;
  const facts = [];
  if ("rank" in value) facts.push(rank === null ? "not in its list" : `rank ${rank}`);
  if ("score" in value) facts.push(score === null ? "no score" : `score ${number(score)}`);
  const [tables, others] = [[], []];
  for (const [key, item] of Object.entries(rest)) {
    if (isTable(item)) tables.push(table(item, `${key} of ${name}`));
    else others.push(`${key.replaceAll("_", " ")} ${plain(item)}`);
  }
  return el("section", { class: "stage" },
    el("h4", null, el("span", { class: `swatch ${tone(name)}`, "aria-hidden": "true" }), name, " ", el("span", { class: "figures" }, facts.join(" · "))),
    others.length > 0 && el("p", { class: "dim" }, others.join(" · ")),
    tables);
}

function isTable(value) {
  return Array.isArray(value) && value.length > 0 && value.every(isObject);
}

function table(rows, caption) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", null,
      el("thead", null, el("tr", null, columns.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, rows.map((row) =>
        el("tr", null, columns.map((name) => el("td", { class: typeof row[name] === "number" ? "figure" : null, dir: "auto" }, plain(row[name]))))))));
}

function plain(value) {
  if (typeof value === "number") return number(value);
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
