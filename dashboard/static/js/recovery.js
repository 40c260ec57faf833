/** Where orders are real: whether journal and venue agree, and what the last start found; asked for again when that changed. */

import { at, data, make, text } from "./dom.js";
import { clock } from "./format.js";
import { get } from "./stream.js";
import { pairLabel } from "./header.js";

let shown = -1; // the number of what is shown
let asking = false;

export function showRecovery({ health }) {
  const now = health.recovery;
  at("recovery").hidden = !now;
  if (!now) return;
  text("recovery-tag", tag(now));
  data("recovery-tag", "tone", now.agreed === false ? "bad" : now.agreed ? "good" : null);
  if (now.number !== shown && !asking) load(now.number);
}

function tag({ agreed, since_ms: since }) {
  if (agreed === null) return "being compared";
  return agreed ? `agree since ${clock(since)}` : `do not agree since ${clock(since)}`;
}

async function load(number) {
  asking = true;
  try {
    show(await get("api/recovery"));
    shown = number;
  } catch (error) {
    text("recovery-head", `The report cannot be loaded: ${error.message}`);
  } finally {
    asking = false;
  }
}

function show({ start, later }) {
  text("recovery-head", start ? heading(start) : "No start was compared with the venue yet.");
  const lines = start ? [`held before: ${held(start.before)}`, ...start.report, `held after: ${held(start.after)}`] : [];
  at("recovery-lines").replaceChildren(...lines.map((line) => make("li", {}, line)));
  at("recovery-later-part").hidden = !later.length;
  at("recovery-later").replaceChildren(...[...later].reverse().map(laterRow));
}

function heading({ time_ms: time, ended_ms: ended, agreed, comparisons }) {
  const tries = comparisons > 1 ? `, compared ${comparisons} times` : "";
  return `Last start ${clock(time)}${tries}: ${agreed ? `agreed ${clock(ended)}` : "not agreed, nothing is sent"}`;
}

function laterRow({ time_ms: time, agreed, report }) {
  const word = agreed === false ? "not agreed" : agreed ? "agreed" : "unexplained";
  return make("li", {}, make("time", { class: "num" }, clock(time)), ` ${word}${report.length ? `: ${report.join("; ")}` : ""}`);
}

function held(amounts) {
  const parts = Object.entries(amounts).map(([pair, amount]) => `${amount} of ${pairLabel(pair)}`);
  return parts.length ? parts.join(", ") : "nothing";
}

/** What stands above the page while journal and venue do not agree; null while they do. */
export function disagreement(health) {
  const now = health?.recovery;
  if (!now || now.agreed !== false) return null;
  const what = now.at_start ? "nothing is sent until they do" : "no entries until they do, exits go on";
  return { level: "warn", text: `Journal and venue do not agree: ${what}.${now.why ? ` ${now.why}` : ""}` };
}
