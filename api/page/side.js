// One pipeline's answer: its name, times and hits, or what went wrong.

import { el, put } from "./dom.js";
import { hitElement, showMove } from "./hits.js";
import { problemElement } from "./problems.js";
import { timings } from "./scores.js";
import { counted, milliseconds } from "./text.js";

export class Side {
  /** actions: those of a hit, and retry(), askKey(). */
  constructor(label, letter, actions) {
    this.label = label;
    this.actions = actions;
    this.result = null;
    this.facts = el("p", { class: "side-facts" });
    this.times = el("div", { class: "times" });
    this.notes = el("div", { class: "notes" });
    this.list = el("ol", { class: "hits" });
    this.element = el("section", { class: "side", "aria-label": `Hits of ${label}` },
      el("header", { class: "side-head" },
        el("h2", null, letter && el("span", { class: "letter", "aria-hidden": "true" }, letter), el("bdi", null, label)),
        this.facts, this.times),
      this.notes, this.list);
  }

  get items() {
    return [...this.list.children];
  }

  get ids() {
    return this.result ? this.result.hits.map((hit) => hit.id) : [];
  }

  item(id) {
    return this.items.find((item) => item.dataset.id === id);
  }

  busy(is) {
    this.element.setAttribute("aria-busy", String(is));
  }

  show(result, filtered) {
    this.result = result;
    this.busy(false);
    const trip = `${milliseconds(result.round_trip_ms)} round trip`;
    put(this.facts, el("b", null, counted(result.hits.length, "hit")),
      ` in ${milliseconds(result.total_ms)}`, el("span", { class: "dim" }, ` · ${trip}`));
    put(this.times, timings(result));
    put(this.notes, result.flags.map((flag) => el("p", { class: "notice" }, flag)),
      result.hits.length === 0 && el("p", { class: "empty" }, filtered
        ? "No hits. The filter may let nothing through: try without it."
        : "No hits. Other words, or another pipeline, may find something."));
    put(this.list, result.hits.map((hit) => hitElement(hit, this.actions)));
    this.items[0]?.setAttribute("tabindex", "0");
  }

  fail(problem) {
    this.result = null;
    this.busy(false);
    put(this.facts);
    put(this.times);
    put(this.list);
    put(this.notes, problemElement(problem, this.actions));
  }

  /** Mark how each hit stands to the other side's; list what is gone. */
  mark({ moved, gone }, other) {
    for (const item of this.items) showMove(item, moved.get(item.dataset.id));
    this.gone?.remove();
    this.gone = null;
    if (gone.length === 0) return;
    this.gone = el("div", { class: "gone-list" },
      el("h3", null, `Gone: ${counted(gone.length, "hit")} of ${other.label} that are not here`),
      el("ul", null, gone.map((id) => {
        const hit = other.result.hits.find((one) => one.id === id);
        return el("li", null, el("span", { class: "dim" }, `${hit.rank} `), el("bdi", null, hit.title || hit.id));
      })));
    this.element.append(this.gone);
  }

  markGone(gone) {
    const lost = new Set(gone);
    for (const item of this.items) showMove(item, lost.has(item.dataset.id) ? { kind: "gone" } : null);
  }
}
