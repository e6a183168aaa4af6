// Choosing a pipeline: one of the collection's names, or a pipeline written as JSON.

import { byId, el, fieldError, put } from "./dom.js";
import { pipelineValue } from "./state.js";

const OWN = "own";
const NONE = "none";
const JSON_CHOICE = "json";
const EXAMPLE = '{"retrieve": ["bm25"], "depth": 100}';

export class PipelinePicker {
  /** `optional`: whether "nothing" is a choice. `changed` is called when another is chosen. */
  constructor(id, label, { optional, changed }) {
    this.optional = optional;
    this.select = el("select", { id: `${id}-name`, change: () => this.chosen(changed) });
    this.json = el("textarea", {
      id: `${id}-json`, class: "code", rows: "2", spellcheck: "false", "aria-label": `${label}, as JSON`,
      "aria-describedby": `${id}-error`, placeholder: EXAMPLE, hidden: true,
    });
    this.error = el("p", { id: `${id}-error`, class: "field-error", hidden: true });
    put(byId(id), el("label", { class: "name", for: `${id}-name` }, label), this.select, this.json, this.error);
    this.offer([]);
  }

  /** The names to choose from. */
  offer(names) {
    this.names = names;
    const [chosen, written] = [this.select.value, this.written];
    const choice = (value, text) => el("option", { value }, text);
    put(this.select,
      this.optional && choice(NONE, "nothing"),
      choice(OWN, "default"),
      names.map((name) => choice(`=${name}`, name)),
      choice(JSON_CHOICE, "write JSON …"));
    // What is being chosen or written while the names arrive stays.
    if (chosen === JSON_CHOICE) this.select.value = chosen;
    else if (written !== undefined) this.written = written;
  }

  chosen(changed) {
    const writes = this.select.value === JSON_CHOICE;
    this.json.hidden = !writes;
    fieldError(this.json, this.error, "");
    if (!writes) changed();
    else if (this.json.value.trim()) changed();
    else this.json.focus();
  }

  /** As state has it: null for nothing, "" for the collection's own, a name, or JSON. */
  get written() {
    const value = this.select.value;
    if (value === "") return undefined;
    if (value === NONE) return null;
    if (value === OWN) return "";
    return value === JSON_CHOICE ? this.json.value.trim() : value.slice(1);
  }

  set written(written) {
    const isJson = written !== null && written.startsWith("{");
    const value = isJson ? JSON_CHOICE : written === null ? NONE : written === "" ? OWN : `=${written}`;
    if (isJson) this.json.value = written;
    if (![...this.select.options].some((option) => option.value === value)) {
      // A name of an address that was shared: the server says whether it exists.
      this.select.insertBefore(el("option", { value }, written), this.select.lastChild);
    }
    this.select.value = value;
    this.json.hidden = !isJson;
    fieldError(this.json, this.error, "");
  }

  /** Go back to the default if the name chosen is not on offer. */
  forgetUnknown() {
    const value = this.select.value;
    if (value.startsWith("=") && !this.names.includes(value.slice(1))) this.written = this.optional ? null : "";
  }

  /** Whether what is written can be sent; says inline what is wrong. */
  check() {
    let message = "";
    try {
      if (this.select.value === JSON_CHOICE) {
        if (!this.json.value.trim().startsWith("{")) throw new SyntaxError(`a pipeline is an object, such as ${EXAMPLE}`);
        pipelineValue(this.json.value.trim());
      }
    } catch (error) {
      message = `Not JSON: ${error.message}`;
    }
    fieldError(this.json, this.error, message);
    return !message;
  }

  /** What to call it. */
  static label(written) {
    if (written === "") return "default";
    return written.startsWith("{") ? `JSON ${written}` : written;
  }
}
