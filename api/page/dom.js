// Elements from plain values. Text enters the page through text nodes alone: nothing is ever parsed
// as markup, so a document cannot be more than text.

/** An element; attributes that are null or false are left out, functions become listeners. */
export function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  put(made, ...children);
  return made;
}

/** Replace what an element holds; null and false are left out. */
export function put(target, ...children) {
  const kept = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  target.replaceChildren(...kept.map((child) => (child instanceof Node ? child : String(child))));
  return target;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A field's inline error; an empty message takes it away. */
export function fieldError(field, place, message) {
  field.setAttribute("aria-invalid", message ? "true" : "false");
  place.textContent = message;
  place.hidden = !message;
}

let unique = 0;

/** An id that no other element has, for aria attributes. */
export function freshId(stem) {
  unique += 1;
  return `${stem}-${unique}`;
}
