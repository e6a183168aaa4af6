// The form: what is to be searched, as a state, checked before it is sent.

import { byId, el, fieldError, put } from "./dom.js";
import { PipelinePicker } from "./picker.js";
import { filterValue } from "./state.js";
import { counted } from "./text.js";

const MAX_K = 100;
const WIDE = matchMedia("(min-width: 46rem)");

export class Form {
  /** submitted: the search was asked for; changed: another collection or pipeline was chosen. */
  constructor({ submitted, changed }) {
    this.query = byId("query");
    this.k = byId("k");
    this.filter = byId("filter");
    this.collection = byId("collection");
    this.options = byId("options");
    this.answer = byId("ask-answer");
    this.model = byId("model");
    this.pipeline = new PipelinePicker("pipeline", "Pipeline", { optional: false, changed });
    this.other = new PipelinePicker("other", "Compare with", { optional: true, changed });
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      submitted();
    });
    this.collection.addEventListener("change", changed);
    this.model.addEventListener("change", changed);
    this.answer.addEventListener("click", () => {
      this.wantsAnswer = !this.wantsAnswer;
      submitted();
    });
    this.k.addEventListener("change", () => this.check() && changed());
    this.filter.addEventListener("input", () => this.checkFilter());
    for (const box of byId("form").querySelectorAll("textarea")) {
      box.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        submitted();
      });
    }
    byId("form").addEventListener("input", () => this.sum());
    const openIfWide = () => {
      if (WIDE.matches) this.options.open = true;
    };
    WIDE.addEventListener("change", openIfWide);
    openIfWide();
  }

  get state() {
    return {
      collection: this.collection.value,
      query: this.query.value.trim(),
      pipeline: this.pipeline.written,
      other: this.other.written,
      k: Number(this.k.value),
      filter: this.filter.value.trim(),
      answer: this.wantsAnswer ? "1" : "",
      model: this.model.selectedIndex > 0 ? this.model.value : "",
    };
  }

  get wantsAnswer() {
    return this.answer.getAttribute("aria-pressed") === "true";
  }

  set wantsAnswer(wants) {
    this.answer.setAttribute("aria-pressed", String(wants));
  }

  set state(state) {
    this.query.value = state.query;
    this.k.value = String(state.k);
    this.filter.value = state.filter;
    this.wantsAnswer = state.answer === "1";
    if ([...this.model.options].some((option) => option.value === state.model)) this.model.value = state.model;
    if ([...this.collection.options].some((option) => option.value === state.collection)) {
      this.collection.value = state.collection;
    }
    this.pipeline.written = state.pipeline;
    this.other.written = state.other;
    this.check();
    this.sum();
  }

  offerCollections(collections, chosen) {
    put(this.collection, collections.map(({ name }) => el("option", { value: name }, name)));
    this.collection.disabled = collections.length === 0;
    this.collection.value = chosen;
  }

  /** What writes answers here; without any there are none to ask for. */
  offerModels(names, chosen) {
    put(this.model, names.map((name) => el("option", { value: name }, name)));
    if (names.includes(chosen)) this.model.value = chosen;
    this.answer.hidden = names.length === 0;
    byId("model-field").hidden = names.length < 2;
  }

  offerPipelines(names) {
    this.pipeline.offer(names);
    this.other.offer(names);
    this.sum();
  }

  /** Whether all of it can be sent; says inline what is wrong. */
  check() {
    const k = Number(this.k.value);
    const kept = Number.isInteger(k) && k >= 1 && k <= MAX_K;
    fieldError(this.k, byId("k-error"), kept ? "" : `From 1 to ${MAX_K}.`);
    const sound = [kept, this.checkFilter(), this.pipeline.check(), this.other.check()].every(Boolean);
    if (!sound) this.options.open = true;
    return sound;
  }

  checkFilter() {
    let message = "";
    try {
      filterValue(this.filter.value);
    } catch (error) {
      message = `Not a filter: ${error.message}`;
    }
    fieldError(this.filter, byId("filter-error"), message);
    return !message;
  }

  focusError() {
    byId("form").querySelector('[aria-invalid="true"]')?.focus();
  }

  /** Another collection may lack the pipelines chosen for the last one. */
  forgetUnknownPipelines() {
    this.pipeline.forgetUnknown();
    this.other.forgetUnknown();
    this.sum();
  }

  /** What the server says of a field, at the field. */
  showProblem(problem) {
    if (problem.status !== 422) return;
    if (problem.field === "k") fieldError(this.k, byId("k-error"), problem.message);
    else if (problem.field === "filter" || this.filtersBy(problem.field)) {
      fieldError(this.filter, byId("filter-error"), `${problem.field}: ${problem.message}`);
    }
  }

  /** Whether the filter has a condition or an operator of that name. */
  filtersBy(name) {
    let found = false;
    JSON.parse(this.filter.value || "null", (key, value) => {
      found ||= name !== "" && key === name;
      return value;
    });
    return found;
  }

  /** Add a condition to the filter, or take it away; whether the filter could be read. */
  toggleFilter(key, value) {
    if (!this.checkFilter()) {
      this.filter.focus();
      return false;
    }
    const conditions = filterValue(this.filter.value) ?? {};
    if (conditions[key] === value) delete conditions[key];
    else Object.defineProperty(conditions, key, { value, enumerable: true, configurable: true, writable: true });
    this.filter.value = Object.keys(conditions).length ? JSON.stringify(conditions) : "";
    this.sum();
    return true;
  }

  /** The options in a few words, for where they are folded away. */
  sum() {
    const { pipeline, other, k, filter } = this.state;
    const parts = [PipelinePicker.label(pipeline ?? ""), other !== null && other !== undefined && `vs ${PipelinePicker.label(other)}`];
    put(byId("options-said"), [parts.filter(Boolean).join(" "), counted(k || 0, "hit"), filter && "filtered"].filter(Boolean).join(" · "));
  }
}
