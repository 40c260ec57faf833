/* Small helpers for the page; all text goes in as text. */

const at = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function text(id, words) {
  at(id).textContent = words;
}

/** An element with attributes and children; `null` attributes are left out, strings become text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function show(id) {
  at(id).hidden = false;
}

/** A card with its title and what is in it. */
function card(title, note, ...children) {
  const made = make("section", { class: "card" }, make("div", { class: "card-head" }, make("h2", {}, title)));
  if (note) made.append(make("p", { class: "note" }, note));
  made.append(...children);
  return made;
}

/** Follows a change of the device between light and dark. */
function onScheme(draw) {
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);
}
