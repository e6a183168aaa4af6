// One hit: what was found, why it matches, what it scores, and what people say of it.

import { el, freshId, put } from "./dom.js";
import { GRADES } from "./judging.js";
import { wording } from "./moves.js";
import { explanation } from "./scores.js";
import { marked, number, toUnits, window } from "./text.js";

const SHOWN_FACTS = 8;
const shown = new WeakMap(); // element -> hit

/** The hit that an element inside it, or it itself, belongs to. */
export function hitOf(element) {
  return shown.get(element.closest(".hit"));
}

/** actions: grade(hit, grade), narrow(key, value). */
export function hitElement(hit, actions) {
  const marks = toUnits(hit.text, hit.highlights ?? []);
  const [passage] = toUnits(hit.text, [hit.span ?? [0, hit.text.length]]);
  const name = freshId("title");
  const item = el("li", { class: "hit", tabindex: "-1", "aria-labelledby": name, "data-id": hit.id },
    el("p", { class: "rank" }, el("span", { class: "unseen" }, "Rank "), String(hit.rank), el("span", { class: "move" })),
    el("div", { class: "body" },
      el("h3", { id: name, class: hit.title ? "title" : "title untitled", dir: "auto" }, hit.title || hit.id),
      el("p", { class: "facts" },
        el("span", { class: "score", title: "Score of the last stage" }, el("span", { class: "unseen" }, "Score "), number(hit.score)),
        el("bdi", { class: "id" }, hit.id),
        metadata(hit.metadata, actions.narrow)),
      hit.text && snippet(hit.text, marks, passage),
      acts(hit, marks, passage, actions)));
  shown.set(item, hit);
  return item;
}

function snippet(text, marks, [from, to]) {
  const [start, end] = window(text, marks, from, to);
  return el("p", { class: "snippet", dir: "auto" },
    start > 0 && "… ", marked(text, marks, start, end), end < text.length && " …");
}

function fullText(text, marks, [from, to]) {
  const whole = from === 0 && to === text.length;
  return el("div", { class: "full", dir: "auto", tabindex: "0", role: "region", "aria-label": "Full text" },
    whole ? marked(text, marks) : [
      ...marked(text, marks, 0, from),
      el("span", { class: "passage", title: "The passage that matched best" }, marked(text, marks, from, to)),
      ...marked(text, marks, to, text.length),
    ]);
}

/** Scalars narrow the search when pressed; anything else is shown as its JSON. */
function metadata(values, narrow) {
  const entries = Object.entries(values ?? {}).flatMap(([key, value]) =>
    (Array.isArray(value) && value.every(isScalar) ? value : [value]).map((item) => [key, item]));
  const chips = entries.slice(0, SHOWN_FACTS).map(([key, value]) => {
    const written = [el("span", { class: "dim" }, `${key} `), typeof value === "string" ? value : JSON.stringify(value)];
    if (!isScalar(value) || key === "" || key.startsWith("$")) return el("bdi", { class: "chip" }, written);
    return el("button", { type: "button", class: "chip", dir: "auto", title: "Filter by this value", click: () => narrow(key, value) }, written);
  });
  const more = entries.length - chips.length;
  return [...chips, more > 0 && el("span", { class: "dim" }, `+${more} more`)];
}

function isScalar(value) {
  return typeof value === "string" || typeof value === "boolean"
    || (typeof value === "number" && (!Number.isInteger(value) || Number.isSafeInteger(value)));
}

/** A panel that is made when first opened. */
function disclosure(label, kind, make) {
  const panel = el("div", { class: "panel", id: freshId(kind), hidden: true });
  const button = el("button", {
    type: "button", class: "quiet", "data-opens": kind, "aria-expanded": "false", "aria-controls": panel.id,
    click: () => {
      if (!panel.hasChildNodes()) put(panel, make());
      panel.hidden = !panel.hidden;
      button.setAttribute("aria-expanded", String(!panel.hidden));
    },
  }, label);
  return [button, panel];
}

function acts(hit, marks, passage, actions) {
  const [text, textPanel] = disclosure("Full text", "text", () => fullText(hit.text, marks, passage));
  const [scores, scorePanel] = disclosure("Scores", "scores", () => explanation(hit.explanation));
  const grades = el("div", { class: "grades", role: "group", "aria-label": "Judge this hit" },
    el("span", { class: "dim", "aria-hidden": "true" }, "Relevant?"),
    GRADES.map((word, grade) => el("button", {
      type: "button", class: "grade", "data-grade": grade, "aria-pressed": "false",
      "aria-label": `${grade}, ${word}`, title: word, click: () => actions.grade(hit, grade),
    }, String(grade))));
  return [el("div", { class: "acts" }, hit.text && text, scores, grades), hit.text && textPanel, scorePanel];
}

/** Open or close one of the hit's panels: "text" or "scores". */
export function togglePanel(item, kind) {
  const button = item.querySelector(`[data-opens="${kind}"]`);
  if (!button) return;
  button.click();
  const panel = item.querySelector(`#${button.getAttribute("aria-controls")}`);
  if (!panel.hidden) panel.scrollIntoView({ block: "nearest" });
}

export function showGrade(item, grade) {
  item.classList.toggle("is-judged", grade !== null);
  for (const button of item.querySelectorAll(".grade")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.grade) === grade));
  }
}

export function showMove(item, move) {
  const place = item.querySelector(".move");
  if (!move) {
    put(place);
    place.className = "move";
    return;
  }
  const [sign, said] = wording(move);
  put(place, el("span", { "aria-hidden": "true" }, sign), el("span", { class: "unseen" }, ` ${said}`));
  place.className = `move ${move.kind}`;
  place.title = said;
}
