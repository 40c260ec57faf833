/** What a person must know, newest first, with a filter by level. */

import { at, fill, make } from "./dom.js";
import { clock } from "./format.js";
import { pairLabel } from "./header.js";

const FILTERS = {
  all: () => true,
  trades: (row) => ["entry", "exit", "refusal"].includes(row.level),
  warnings: (row) => ["warn", "error", "halt", "refusal"].includes(row.level),
};
let chosen = "all";

export function setUpEvents(again) {
  for (const button of at("event-filter").children) {
    button.addEventListener("click", () => {
      chosen = button.dataset.filter;
      for (const other of at("event-filter").children) other.setAttribute("aria-pressed", String(other === button));
      again();
    });
  }
}

export function showEvents(rows, many = false) {
  const shown = rows.filter(FILTERS[chosen]).reverse();
  const last = shown[0];
  fill("events", `${chosen}${shown.length}${last?.time_ms}${last?.text}`, () => shown.map((row) => makeEvent(row, many)));
  at("events-empty").hidden = shown.length > 0;
  at("events-empty").textContent = rows.length ? "No event of this kind." : "No events yet.";
}

function makeEvent(row, many) {
  const time = make("time", { class: "num", datetime: new Date(row.time_ms).toISOString() }, clock(row.time_ms));
  const level = make("span", { class: "level" }, row.level);
  return make("li", { "data-level": row.level }, time, level, make("span", { class: "words" }, make("b", {}, many && row.pair ? `${row.stage} ${pairLabel(row.pair)}` : row.stage), ` ${row.text}`));
}
