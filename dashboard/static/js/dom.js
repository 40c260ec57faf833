/** Small helpers over the document. Text goes in through textContent alone: nothing from outside becomes HTML. */

export const at = (id) => document.getElementById(id);

/** Sets the text of an element where it changed. */
export function text(id, value) {
  const node = typeof id === "string" ? at(id) : id;
  if (node.textContent !== value) node.textContent = value;
  return node;
}

/** An amount with its currency in small type: "10,154.38" "USDT". */
export function amount(id, value, unit) {
  const node = at(id);
  const key = `${value} ${unit}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(value, make("span", { class: "unit" }, unit ? ` ${unit}` : ""));
}

/** Sets a data attribute where it changed; null removes it. */
export function data(id, name, value) {
  const node = typeof id === "string" ? at(id) : id;
  if (value === null || value === undefined) delete node.dataset[name];
  else if (node.dataset[name] !== String(value)) node.dataset[name] = String(value);
  return node;
}

/** A new element: make("td", {class: "r", title: "…"}, "text", child, …). */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Replaces the children only when `key` differs from the last time. */
export function fill(id, key, build) {
  const node = typeof id === "string" ? at(id) : id;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...build());
}
