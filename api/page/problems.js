// What went wrong, in the server's words, and what to do.

import { el } from "./dom.js";

const TITLES = {
  0: "No answer", 401: "A key is needed", 403: "Not allowed", 404: "Not found", 422: "Not understood",
  413: "Too large", 429: "The server is busy", 500: "The server failed", 502: "The model did not answer", 503: "Not ready", 504: "Out of time",
  507: "The disk is full",
};
const WORTH_RETRYING = new Set([0, 429, 500, 502, 503, 504, 507]);

/** actions: retry(), askKey(). */
export function problemElement(problem, actions) {
  const facts = [
    problem.field && `field ${problem.field}`,
    problem.code && problem.code !== "unreachable" && `code ${problem.code}`,
    problem.requestId && `request ${problem.requestId}`,
  ].filter(Boolean);
  const wait = problem.retryAfter ? ` Try again in ${problem.retryAfter} s.` : "";
  return el("div", { class: "problem", role: "alert" },
    el("h3", null, TITLES[problem.status] ?? "Not done"),
    el("p", null, problem.message + wait),
    facts.length > 0 && el("p", { class: "dim code" }, facts.join(" · ")),
    el("p", { class: "problem-acts" },
      problem.status === 401 || problem.status === 403
        ? el("button", { type: "button", click: actions.askKey }, problem.status === 401 ? "Enter a key" : "Use another key") : null,
      WORTH_RETRYING.has(problem.status) && el("button", { type: "button", click: actions.retry }, "Try again")));
}
