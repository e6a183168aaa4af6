// A message that comes and goes: what could not be done in the background.

import { byId, el, put } from "./dom.js";

const STAYS_MS = 8000;
let timer = 0;

export function toast(message) {
  clearTimeout(timer);
  const hide = () => put(byId("toast"));
  put(byId("toast"), el("p", null, message), el("button", { type: "button", class: "quiet", "aria-label": "Dismiss", click: hide }, "✕"));
  timer = setTimeout(hide, STAYS_MS);
}
