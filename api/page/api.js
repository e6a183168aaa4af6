// Requests to the server that handed out this page, and to no other.

const STORED = "cormorant.key";
let key = remembered();

function remembered() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return ""; // storage is switched off: the key lives as long as the page
  }
}

export function hasKey() {
  return key !== "";
}

/** Use a key from now on; "" forgets it. */
export function setKey(value) {
  key = value;
  try {
    if (value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  } catch {
    // as above
  }
}

/** A refusal: the server's problem+json, or what stands for it when no server answered. */
export class Problem extends Error {
  constructor(facts) {
    // The field is shown beside the message; it need not be in it too.
    const said = facts.detail || facts.title || "The request failed.";
    super(facts.field ? said.replace(`field '${facts.field}': `, "") : said);
    this.status = facts.status ?? 0;
    this.code = facts.code ?? "";
    this.field = facts.field ?? "";
    this.requestId = facts.request_id ?? "";
    this.retryAfter = facts.retry_after ?? "";
  }
}

async function send(method, path, body, signal, accept = "application/json, application/problem+json, text/plain") {
  const headers = { Accept: accept };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI.replace(/#.*$/, "")), {
      method, headers, signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      code: "unreachable",
      detail: "The server does not answer. Is it running, and is this machine connected to it?",
    });
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let facts = {};
  try {
    facts = await response.json();
  } catch {
    facts = { detail: `The server answered ${response.status} without saying why.` };
  }
  return new Problem({
    ...facts,
    status: response.status,
    request_id: facts.request_id ?? response.headers.get("X-Request-ID"),
    retry_after: response.headers.get("Retry-After"),
  });
}

function of(collection, rest) {
  return `v1/collections/${encodeURIComponent(collection)}/${rest}`;
}

export async function listCollections() {
  return (await (await send("GET", "v1/collections")).json()).collections;
}

/** One search, with what it took: the result, and the round trip in milliseconds. */
export async function search(collection, body, signal) {
  const began = performance.now();
  const response = await send("POST", of(collection, "search"), body, signal);
  const result = await response.json();
  return { ...result, round_trip_ms: performance.now() - began };
}

/** The events of an answer as they come: [name, data]. An event "error" is thrown as its problem. */
export async function* answerEvents(collection, body, signal) {
  const response = await send("POST", of(collection, "answer"), body, signal, "text/event-stream, application/problem+json");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
      if (name === "error") throw new Problem(JSON.parse(data));
      if (name) yield [name, JSON.parse(data)];
    }
  }
}

export async function putJudgement(collection, judgement) {
  await send("PUT", of(collection, "judgements"), judgement);
}

/** All judgements of a collection as TREC qrels. */
export async function qrels(collection) {
  return (await send("GET", of(collection, "judgements"))).text();
}

/** The queries they belong to, one JSON object a line. */
export async function judgedQueries(collection) {
  return (await send("GET", of(collection, "judgements?queries=1"))).text();
}
