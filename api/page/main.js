// The page: what is asked (the form and the address) becomes a search, and its answer is shown.

import { AnswerPanel } from "./answer.js";
import * as api from "./api.js";
import { byId, el, put } from "./dom.js";
import { askKey, showHelp } from "./dialogs.js";
import { asFile } from "./download.js";
import { Form } from "./form.js";
import { hitOf, showGrade } from "./hits.js";
import { GRADES, Judgements } from "./judging.js";
import { listen } from "./keys.js";
import { moves } from "./moves.js";
import { PipelinePicker } from "./picker.js";
import { problemElement } from "./problems.js";
import { Side } from "./side.js";
import { filterValue, fromFragment, pipelineValue, toFragment } from "./state.js";
import { toast } from "./toast.js";
import { counted, milliseconds } from "./text.js";

const SLOW_MS = 150;
const ANSWER_K = 5;

const form = new Form({ submitted: () => submit(), changed: () => changed() });
let collections = [];
let entered = ""; // the collection whose pipelines are offered
let judgements = null; // its judgements, once they are there
let sides = [];
let asked = null; // the state whose hits are shown
let running = null; // the AbortController of the search under way

const actions = {
  retry: () => (collections.length ? run(form.state) : start()),
  askKey: () => askKey(start),
  grade: (hit, grade) => judge(hit, grade),
  narrow: (key, value) => {
    if (form.toggleFilter(key, value)) submit();
  },
};

const answer = new AnswerPanel(actions);

// -- what there is to search --------------------------------------------------------------------

async function start() {
  running?.abort();
  const state = fromFragment(location.hash);
  byId("key").classList.toggle("has-key", api.hasKey());
  form.state = state;
  clear();
  put(byId("message"), el("p", { class: "empty" }, "Looking for collections …"));
  try {
    collections = await api.listCollections();
  } catch (problem) {
    collections = [];
    form.offerCollections([], "");
    put(byId("message"), problemElement(asProblem(problem), actions));
    return;
  }
  put(byId("message"));
  const names = collections.map((one) => one.name);
  const known = names.includes(state.collection);
  const first = collections.find((one) => one.documents > 0)?.name ?? names[0] ?? "";
  form.offerCollections(collections, known ? state.collection : first);
  enter(form.state.collection);
  if (names.length === 0) {
    put(byId("message"), el("div", { class: "empty" },
      el("h2", null, "No collection here"),
      el("p", null, api.hasKey() ? "This key may read none." : "There is none, or it takes a key to see it."),
      el("p", null, "Make one with ", el("code", null, "cormorant index corpus.jsonl --into papers.cm"), ".")));
  } else if (state.collection && !known) {
    put(byId("message"), el("p", { class: "notice" }, `There is no collection “${state.collection}” here that you may read.`));
  } else if (form.state.query) {
    await run(form.state);
  } else {
    intro();
  }
}

/** The address was changed: by going back, or by hand. */
function restore() {
  const state = fromFragment(location.hash);
  if (!collections.some((one) => one.name === state.collection)) return start();
  form.state = state;
  if (state.collection !== entered) enter(state.collection);
  return state.query ? run(form.state) : rest();
}

/** Nothing is asked. */
function rest() {
  running?.abort();
  clear();
  intro();
}

/** Take a collection as the one to search: its pipelines, its judgements. */
async function enter(name) {
  entered = name;
  const described = collections.find((one) => one.name === name);
  form.offerPipelines(described?.pipelines ?? []);
  form.offerModels(described?.language_models ?? [], fromFragment(location.hash).model);
  put(byId("facts"), described ? factsOf(described) : "");
  document.title = name ? `${name} – Cormorant` : "Cormorant";
  judgements = null;
  byId("judged").hidden = true;
  byId("hits").classList.add("no-judging");
  if (!described) return;
  try {
    const loaded = await new Judgements(name).load();
    if (entered !== name) return;
    judgements = loaded;
    byId("hits").classList.remove("no-judging");
    paintGrades();
  } catch {
    // Without the right to read judgements there is no judging; searching goes on.
  }
}

function factsOf(described) {
  const indexes = Object.keys(described.indexes ?? {});
  return `${counted(described.documents, "document")} · ${indexes.join(", ") || "no index"}`;
}

function intro() {
  const described = collections.find((one) => one.name === form.state.collection);
  if (described?.problem) {
    put(byId("message"), el("p", { class: "notice" }, `This collection is not open: ${described.problem}. The server’s /readyz and its log say more.`));
    return;
  }
  put(byId("message"), el("div", { class: "empty" },
    described?.documents === 0
      ? [el("h2", null, "This collection is empty"), el("p", null, "Add documents, and they are found at once.")]
      : [el("h2", null, "What are you looking for?"),
        el("p", null, "Compare two pipelines, open a hit’s scores, judge it from 0 to 3. ",
          el("kbd", null, "/"), " goes to the search box, ", el("kbd", null, "?"), " shows all keys.")]));
}

function clear() {
  answer.clear();
  sides = [];
  asked = null;
  put(byId("hits"));
  put(byId("status"));
  byId("tabs").hidden = true;
  byId("judged").hidden = true;
}

// -- a search -----------------------------------------------------------------------------------

function submit() {
  if (!form.check()) return form.focusError();
  const state = form.state;
  const fragment = toFragment(state);
  if (fragment !== location.hash) history.pushState(null, "", fragment);
  return state.query ? run(state) : rest();
}

/** A choice was made: search again, if anything was asked. */
function changed() {
  const { collection } = form.state;
  if (collection !== entered) {
    enter(collection);
    form.forgetUnknownPipelines();
  }
  submit();
}

async function run(state) {
  if (!state.collection) return;
  if (!form.check()) {
    rest(); // an address written by hand
    return;
  }
  running?.abort();
  const control = (running = new AbortController());
  const compares = state.other !== null;
  const wanted = compares ? [state.pipeline, state.other] : [state.pipeline];
  const before = sides;
  asked = state;
  sides = wanted.map((pipeline, place) =>
    reusable(before[place], pipeline, compares) ?? new Side(PipelinePicker.label(pipeline), compares ? "AB"[place] : "", actions));
  sides.forEach((side, place) => Object.assign(side, { written: wanted[place], compares }).busy(true));
  put(byId("message"));
  askForAnswer(state);
  put(byId("hits"), sides.map((side) => side.element));
  byId("hits").classList.toggle("two", compares);
  tabs();
  const slow = setTimeout(() => put(byId("status"), "Searching …"), before.length ? SLOW_MS : 0);
  await Promise.all(sides.map((side) => fill(side, state, control)));
  clearTimeout(slow);
  if (control.signal.aborted) return;
  if (compares && sides.every((side) => side.result)) {
    const found = moves(sides[0].ids, sides[1].ids);
    sides[1].mark(found, sides[0]);
    sides[0].markGone(found.gone);
  }
  paintGrades();
  put(byId("status"), said());
}

/** The answer that goes with a search, if one is wanted. */
function askForAnswer(state) {
  if (state.answer !== "1" || form.answer.hidden) return answer.clear();
  answer.ask(state.collection, {
    question: state.query, k: Math.min(state.k, ANSWER_K), pipeline: pipelineValue(state.pipeline),
    filter: filterValue(state.filter), model: state.model || null,
  });
}

/** The old hits of the same pipeline stay, dimmed, until the new ones are there. */
function reusable(side, pipeline, compares) {
  return side && side.written === pipeline && side.compares === compares ? side : null;
}

async function fill(side, state, control) {
  const body = {
    query: state.query, k: state.k, pipeline: pipelineValue(side.written),
    filter: filterValue(state.filter), explain: true, timings: true, highlight: true,
  };
  try {
    const result = await api.search(state.collection, body, control.signal);
    if (!control.signal.aborted) side.show(result, body.filter !== null);
  } catch (error) {
    if (control.signal.aborted) return;
    const problem = asProblem(error);
    form.showProblem(problem);
    side.fail(problem);
  }
}

function said() {
  const answered = sides.filter((side) => side.result);
  if (answered.length < sides.length) return answered.length ? "One of the two searches failed." : "The search failed.";
  if (sides.length === 1) {
    const [{ result }] = sides;
    return `${counted(result.hits.length, "hit")} in ${milliseconds(result.total_ms)}.`;
  }
  const [a, b] = sides.map((side) => side.ids);
  const both = b.filter((id) => a.includes(id)).length;
  return `${counted(both, "hit")} in both, ${b.length - both} new in B, ${a.length - both} gone.`;
}

/** On a narrow screen one side is shown at a time. */
function tabs() {
  const bar = byId("tabs");
  bar.hidden = sides.length < 2;
  put(bar, sides.map((side, number) => el("button", {
    type: "button", "aria-pressed": "false", click: () => show(number),
  }, `${"AB"[number]} `, el("bdi", null, side.label))));
  show(0);
}

function show(number) {
  byId("hits").dataset.shown = String(number);
  [...byId("tabs").children].forEach((tab, place) => tab.setAttribute("aria-pressed", String(place === number)));
}

function asProblem(error) {
  if (error instanceof api.Problem) return error;
  return new api.Problem({ code: "page", detail: `The page could not show the answer: ${error.message}` });
}

// -- judging ------------------------------------------------------------------------------------

async function judge(hit, grade) {
  if (!judgements || !asked) return;
  const [mine, query] = [judgements, asked.query];
  const value = mine.grade(query, hit.id) === grade ? null : grade;
  const saved = mine.save(query, hit.id, value);
  paintGrades();
  try {
    await saved;
    put(byId("status"), value === null ? `Judgement taken back: ${hit.title || hit.id}`
      : `Judged ${value}, ${GRADES[value]}: ${hit.title || hit.id}`);
  } catch (problem) {
    if (mine === judgements) paintGrades();
    const id = problem.requestId ? ` (request ${problem.requestId})` : "";
    toast(`Not saved: ${problem.message}${id}`);
  }
}

function paintGrades() {
  if (!judgements || !asked) return;
  for (const side of sides) {
    for (const item of side.items) showGrade(item, judgements.grade(asked.query, item.dataset.id));
  }
  const { here, all } = judgements.counts(asked.query);
  byId("judged").hidden = false;
  put(byId("judged-said"), `Judged ${here} here, ${all} in all. `);
  byId("export-qrels").disabled = byId("export-queries").disabled = all === 0;
}

async function download(fetched, name, type) {
  const { collection } = judgements;
  try {
    asFile(`${collection}.${name}`, await fetched(collection), type);
  } catch (error) {
    toast(`Not exported: ${asProblem(error).message}`);
  }
}

// -- wiring -------------------------------------------------------------------------------------

byId("export-qrels").addEventListener("click", () => download(api.qrels, "qrels", "text/plain"));
byId("export-queries").addEventListener("click", () => download(api.judgedQueries, "queries.jsonl", "application/x-ndjson"));
byId("key").addEventListener("click", () => askKey(start));
byId("help").addEventListener("click", showHelp);
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment holds the search
  (sides[0]?.items[0] ?? byId("hits")).focus();
});
for (const [event, on] of [["mouseover", true], ["focusin", true], ["mouseout", false], ["focusout", false]]) {
  byId("hits").addEventListener(event, ({ target }) => twins(target, on));
}
addEventListener("hashchange", restore);
listen({
  sides: () => sides,
  shown: () => sides[Number(byId("hits").dataset.shown)],
  show,
  grade: (item, grade) => judge(hitOf(item), grade),
  help: showHelp,
});

/** The same document on the other side is marked while one is under the pointer or in focus. */
function twins(target, on) {
  const item = target.closest?.(".hit");
  if (!item || sides.length < 2) return;
  for (const side of sides) side.item(item.dataset.id)?.classList.toggle("is-twin", on);
}

start();
