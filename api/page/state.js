// What is searched, as a value, and as the fragment of the page's address, which can be shared.
// The key is no part of it.

const NAMES = { collection: "c", query: "q", pipeline: "p", other: "vs", k: "k", filter: "f", answer: "a", model: "m" };

/** answer: "1" where one is wanted; model: "" is the server's first. pipeline: "" is the collection's own, "{...}" is JSON, else a name; other: null compares nothing. */
export const NOTHING = Object.freeze({
  collection: "", query: "", pipeline: "", other: null, k: 10, filter: "", answer: "", model: "",
});

export function fromFragment(fragment) {
  const found = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = { ...NOTHING };
  for (const [name, short] of Object.entries(NAMES)) {
    if (found.has(short)) state[name] = found.get(short);
  }
  const k = Number(state.k);
  state.k = Number.isInteger(k) && k >= 1 ? k : NOTHING.k;
  return state;
}

export function toFragment(state) {
  const written = new URLSearchParams();
  for (const [name, short] of Object.entries(NAMES)) {
    if (state[name] !== NOTHING[name]) written.set(short, state[name]);
  }
  return `#${written}`;
}

/** A pipeline as the API takes it; throws SyntaxError for broken JSON. */
export function pipelineValue(written) {
  if (written === "") return null;
  return written.startsWith("{") ? JSON.parse(written) : written;
}

/** A filter as the API takes it; throws SyntaxError for what is no JSON object. */
export function filterValue(written) {
  if (written.trim() === "") return null;
  const value = JSON.parse(written);
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new SyntaxError('a filter is an object, such as {"year": {"gte": 2010}}');
  }
  return value;
}
