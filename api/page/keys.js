// The keyboard: moving among hits and judging them without the mouse.

import { byId } from "./dom.js";
import { togglePanel } from "./hits.js";

/** page: sides(), shown(), show(side), grade(item, grade), help(). */
export function listen(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const writes = event.target.closest("input, textarea, select");
    if (writes) {
      if (event.key === "Escape") writes.blur();
      return;
    }
    if (press(event, page)) event.preventDefault();
  });
  byId("hits").addEventListener("focusin", (event) => {
    const item = event.target.closest(".hit");
    if (item) own(item);
  });
}

/** One hit of a side takes part in the tab order: the one that last had the focus. */
function own(item) {
  for (const other of item.parentElement.children) other.setAttribute("tabindex", other === item ? "0" : "-1");
}

function press(event, page) {
  const item = event.target.closest(".hit");
  switch (event.key) {
    case "/":
      byId("query").focus();
      byId("query").select();
      return true;
    case "?":
      page.help();
      return true;
    case "j":
      return go(item, 1, page);
    case "k":
      return go(item, -1, page);
    case "h":
    case "l":
      return cross(item, event.key === "h" ? 0 : 1, page);
    case "Enter":
      if (event.target !== item) return false;
      togglePanel(item, "text");
      return true;
    case "s":
      if (!item) return false;
      togglePanel(item, "scores");
      return true;
    default:
      if (!item || !/^[0-3]$/.test(event.key)) return false;
      if (!event.repeat) page.grade(item, Number(event.key));
      return true;
  }
}

function go(item, by, page) {
  const items = item ? [...item.parentElement.children] : page.shown()?.items ?? [];
  if (items.length === 0) return false;
  const next = item ? items[items.indexOf(item) + by] : items.find((one) => one.tabIndex === 0) ?? items[0];
  focus(next ?? item);
  return true;
}

/** To the same document on the other side, or else to the hit beside it. */
function cross(item, number, page) {
  const sides = page.sides();
  const target = sides[number];
  if (sides.length < 2 || !target || target.items.length === 0) return false;
  page.show(number);
  const place = item ? [...item.parentElement.children].indexOf(item) : 0;
  const same = item && target.item(item.dataset.id);
  focus(same ?? target.items[Math.min(place, target.items.length - 1)]);
  return true;
}

function focus(item) {
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
}
