// The judgements of one collection: a copy of the server's, changed only as the server agrees.

import * as api from "./api.js";

export const GRADES = ["not relevant", "somewhat relevant", "relevant", "exactly this"];

/** The same words are the same query, however they were spaced. */
export function plainQuery(query) {
  return query.normalize("NFC").trim().replace(/\s+/g, " ");
}

/** A query's id for whoever asks the same words anywhere: 48 bits of FNV-1a over its UTF-8. */
export function queryId(query) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(plainQuery(query))) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return `q${hash.toString(16).padStart(16, "0").slice(0, 12)}`;
}

export class Judgements {
  constructor(collection) {
    this.collection = collection;
    this.grades = new Map(); // query id -> Map(document id -> grade)
    this.ids = new Map(); // query's text -> its id
    this.saving = Promise.resolve();
  }

  async load() {
    const [lines, queries] = await Promise.all([
      api.qrels(this.collection), api.judgedQueries(this.collection),
    ]);
    for (const line of lines.split("\n")) {
      const [query, , id, grade] = line.split(/[ \t\r]+/);
      if (grade !== undefined) this.of(query).set(id, Number(grade));
    }
    for (const line of queries.split("\n")) {
      if (!line.trim()) continue;
      const entry = JSON.parse(line);
      this.ids.set(plainQuery(entry.text), entry._id ?? entry.id);
    }
    return this;
  }

  /** The grades of one query's documents, by its id. */
  of(id) {
    if (!this.grades.has(id)) this.grades.set(id, new Map());
    return this.grades.get(id);
  }

  idOf(query) {
    return this.ids.get(plainQuery(query)) ?? queryId(query);
  }

  grade(query, document) {
    return this.grades.get(this.idOf(query))?.get(document) ?? null;
  }

  /** How many documents of this query are judged, and how many pairs in all. */
  counts(query) {
    let all = 0;
    for (const judged of this.grades.values()) all += judged.size;
    return { here: this.grades.get(this.idOf(query))?.size ?? 0, all };
  }

  /** Save a grade (null takes it back). One at a time, so that the last key pressed wins. */
  save(query, document, grade) {
    const id = this.idOf(query);
    const judged = this.of(id);
    const before = judged.get(document) ?? null;
    set(judged, document, grade);
    const judgement = {
      query_id: id, query: plainQuery(query), document_id: document, grade,
    };
    const saved = this.saving.then(() => api.putJudgement(this.collection, judgement));
    this.saving = saved.catch(() => {
      if ((judged.get(document) ?? null) === grade) set(judged, document, before);
    });
    return saved;
  }
}

function set(judged, document, grade) {
  if (grade === null) judged.delete(document);
  else judged.set(document, grade);
}
