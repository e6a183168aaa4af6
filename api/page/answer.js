// An answer while it is written: its text, which sentence is from where, and what is not.

import * as api from "./api.js";
import { byId, el, freshId, put } from "./dom.js";
import { problemElement } from "./problems.js";
import { counted, marked, toUnits, window } from "./text.js";

const AROUND = 420;

export class AnswerPanel {
  /** actions: retry(), askKey(). */
  constructor(actions) {
    this.actions = actions;
    this.place = byId("answer");
    this.control = null;
  }

  /** Ask a question; what was under way is left. */
  async ask(collection, body) {
    this.clear();
    const control = (this.control = new AbortController());
    this.text = el("div", { class: "answer-text", dir: "auto" });
    this.notes = el("div", { class: "notes" });
    this.sources = el("div");
    this.state = el("p", { class: "answer-state", role: "status" }, "Reading the passages …");
    this.stop = el("button", { type: "button", class: "quiet", click: () => this.halt() }, "Stop");
    put(this.place, el("section", { class: "answer", "aria-busy": "true", "aria-label": "Answer" },
      el("header", { class: "answer-head" }, el("h2", null, "Answer"), this.state, this.stop),
      this.text, this.notes, this.sources));
    this.place.hidden = false;
    let hits = [];
    try {
      for await (const [name, data] of api.answerEvents(collection, body, control.signal)) {
        if (control.signal.aborted) return;
        if (name === "hits") {
          hits = data.hits;
          put(this.state, `Writing from ${counted(hits.length, "hit")} …`);
        } else if (name === "text") this.text.append(data.text);
        else if (name === "done") return this.show(data);
      }
      throw new api.Problem({ code: "broken_off", detail: "The answer broke off before its end." });
    } catch (error) {
      if (control.signal.aborted) return;
      this.fail(error instanceof api.Problem ? error : new api.Problem({ code: "page", detail: `The page could not show the answer: ${error.message}` }));
    }
  }

  /** Leave what is under way; the server stops its work. */
  halt() {
    this.control?.abort();
    this.done("Stopped. What there is:");
  }

  clear() {
    this.control?.abort();
    this.control = null;
    this.place.hidden = true;
    put(this.place);
  }

  done(said) {
    put(this.state, said);
    this.stop.remove();
    this.place.firstChild.setAttribute("aria-busy", "false");
  }

  fail(problem) {
    this.done("");
    put(this.notes, problemElement(problem, this.actions));
  }

  show(answer) {
    const sources = new Sources(answer);
    put(this.text, answer.found ? sentences(answer, sources) : el("p", { class: "not-found" }, answer.text));
    put(this.notes, answer.flags.map((flag) => el("p", { class: "notice" }, flag)));
    put(this.sources, sources.element);
    this.done(said(answer));
  }
}

function said(answer) {
  const { tokens, drafting } = answer.statistics;
  return [
    answer.model, answer.mode !== "standard" && answer.mode.replaceAll("_", " "),
    tokens > 0 && counted(tokens, "token"),
    drafting && `${counted(drafting.forwards, "forward")} instead of ${drafting.plain_forwards}`,
    answer.confidence !== null && `confidence ${percent(answer.confidence)}`,
  ].filter(Boolean).join(" · ");
}

function percent(value) {
  return value < 0.001 ? "below 0.1%" : `${(100 * value).toFixed(1)}%`;
}

/** The text as it is, each sentence marked by what it draws on, each marker a button. */
function sentences(answer, sources) {
  const spans = toUnits(answer.text, answer.sentences.map(({ start, end }) => [start, end]));
  const markers = answer.citations.filter(({ by }) => by === "marker");
  const places = toUnits(answer.text, markers.map(({ start, end }) => [start, end]));
  const nodes = [];
  let at = 0;
  spans.forEach(([start, end], number) => {
    const sentence = answer.sentences[number];
    const inside = markers.map((citation, place) => [citation, places[place]])
      .filter(([, place]) => place[0] >= start && place[1] <= end);
    nodes.push(answer.text.slice(at, start), el("span", {
      class: sentence.supported ? "sentence" : "sentence unsupported",
      title: sentence.supported ? null : "No passage supports this sentence",
    }, parts(answer.text, [start, end], inside, sources),
    !sentence.supported && el("span", { class: "unseen" }, " (no passage supports this sentence)"),
    sentence.supported && !inside.some(([{ rank }]) => rank === sentence.rank) && sources.button(sentence, true)));
    at = end;
  });
  return el("p", null, nodes, answer.text.slice(at));
}

/** text[start:end] with its markers as buttons, one for each passage that a marker names. */
function parts(text, [start, end], inside, sources) {
  const nodes = [];
  let at = start;
  for (const [citation, [from, to]] of inside) {
    if (from >= at) {
      nodes.push(text.slice(at, from));
      at = to;
    }
    nodes.push(sources.button(citation, false));
  }
  nodes.push(text.slice(at, end));
  return nodes;
}

/** The passages that an answer names or draws on, each with what of it was used. */
class Sources {
  constructor(answer) {
    this.items = new Map();
    this.name = freshId("source");
    const used = [...answer.citations, ...answer.sentences.filter(({ supported }) => supported)];
    const ranks = [...new Set(used.map(({ rank }) => rank))].sort((a, b) => a - b);
    const list = el("ol", { class: "sources" }, ranks.map((rank) => {
      const hit = answer.result.hits[rank - 1];
      return hit && this.item(hit, used.filter((one) => one.rank === rank).map(({ span }) => span));
    }));
    this.element = ranks.length > 0 && el("div", null, el("h3", { class: "unseen" }, "Sources"), list);
  }

  item(hit, spans) {
    const text = el("p", { class: "snippet", dir: "auto" });
    const item = el("li", { class: "source", id: `${this.name}-${hit.rank}`, tabindex: "-1" },
      el("span", { class: "source-rank" }, `[${hit.rank}]`),
      el("div", { class: "source-body" },
        el("p", { class: hit.title ? "source-title" : "source-title untitled", dir: "auto" }, hit.title || hit.id,
          hit.title && el("bdi", { class: "id dim" }, ` ${hit.id}`)), text));
    this.items.set(hit.rank, { item, text, hit, spans });
    this.mark(hit.rank, null);
    return item;
  }

  /** Show the part of a source's text around one span, or around all of them. */
  mark(rank, span) {
    const { text, hit, spans } = this.items.get(rank);
    const marks = toUnits(hit.text, union(span ? [span] : spans));
    const around = toUnits(hit.text, [span ?? hit.span])[0];
    const [from, to] = span ? [Math.max(0, around[0] - AROUND / 3), hit.text.length] : around;
    const [start, end] = window(hit.text, marks, from, to, AROUND);
    put(text, start > 0 && "… ", marked(hit.text, marks, start, end), end < hit.text.length && " …");
  }

  /** A number that leads to its source. `quiet`: the model did not write it. */
  button({ rank, span }, quiet) {
    if (!this.items.has(rank)) return `[${rank}]`;
    return el("button", {
      type: "button", class: quiet ? "cite quiet-cite" : "cite", "aria-controls": `${this.name}-${rank}`,
      "aria-label": `Source ${rank}`, title: quiet ? `Drawn from source ${rank}` : `Source ${rank}`,
      click: () => this.lead(rank, span),
    }, String(rank));
  }

  lead(rank, span) {
    const { item } = this.items.get(rank);
    for (const one of this.items.values()) one.item.classList.toggle("is-led", one.item === item);
    this.mark(rank, span);
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  }
}

/** Spans, ascending and disjoint. */
function union(spans) {
  const made = [];
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = made.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else made.push([start, end]);
  }
  return made;
}
