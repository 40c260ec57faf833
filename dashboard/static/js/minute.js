/** "Why, why not": one minute asked of /api/why, by its time or by a click on its candle. */

import { at, make, text } from "./dom.js";
import { clock, fixed, words } from "./format.js";
import { get } from "./stream.js";
import { reasonWords } from "./why.js";

const MINUTE = 60_000;
const RULES = { mean_reversion: "Mean reversion", crash_catch: "or crash catch", trailing_stop: "Trailing stop", take_profit: "or take profit" };
const HAPPENED = 40;

let asked = 0; // so that a slow answer does not replace a later one

/** `store` has pair and decimals. */
export function setUpMinute(store) {
  const go = () => {
    const ms = new Date(at("asked-at").value).getTime();
    if (Number.isFinite(ms)) askMinute(store, ms);
    else say("Give a date and a time, or click on a candle.");
  };
  at("asked-go").onclick = go;
  at("asked-at").onkeydown = (event) => event.key === "Enter" && go();
  at("asked-at").value = local(Date.now());
}

/** Shows the minute that the time in ms is part of. */
export async function askMinute(store, ms) {
  const turn = ++asked;
  const start = ms - (ms % MINUTE);
  at("asked-at").value = local(start);
  say("Asking…");
  const query = new URLSearchParams({ pair: store.pair, at: start, offset_minutes: -new Date(start).getTimezoneOffset() });
  try {
    const found = await get(`api/why?${query}`);
    if (turn === asked) show(found, store.decimals);
  } catch (error) {
    if (turn === asked) say(error.message);
  }
}

export function forgetMinute() {
  asked += 1;
  say("Click on a candle, or give a minute: what was missing for an entry or an exit, and what stood in the way?");
}

function say(sentence) {
  text("asked-sentence", sentence);
  for (const id of ["asked-rules", "asked-blocking", "asked-happened"]) at(id).replaceChildren();
  at("asked-more").hidden = true;
}

function show(found, decimals) {
  text("asked-sentence", found.sentence);
  at("asked-rules").replaceChildren(...found.rules.map((rule) => ruleRow(rule, decimals)));
  at("asked-blocking").replaceChildren(...listed(found.blocking.map(blockingRow), "Nothing blocked an entry."));
  at("asked-happened").replaceChildren(...listed(found.happened.slice(-HAPPENED).map((one) => happenedRow(one, decimals)), "Nothing was decided."));
  text("asked-note", note(found));
  at("asked-more").hidden = false;
}

function note(found) {
  const sources = { tape: "every trade on the tape", candles: "the candle's close alone", none: "nothing that is kept" };
  const parts = [`${clock(found.from_ms, false)}${found.so_far ? " so far" : ""}: ${found.trades} trades, by ${sources[found.source]}`];
  if (found.refilled) parts.push(`${found.refilled} filled in after a hole, which decide nothing`);
  return `${parts.join("; ")}. Each line at its nearest miss.`;
}

function ruleRow(rule, decimals) {
  const held = rule.held ? `held at ${rule.held} ${rule.held === 1 ? "trade" : "trades"}, first ${clock(rule.first_ms)}` : "did not hold";
  return make("li", {}, make("b", {}, `${RULES[rule.rule] ?? words(rule.rule)}: ${held}`), ...rule.conditions.map((one) => conditionRow(one, decimals)));
}

function conditionRow(one, decimals) {
  const met = one.met ? "yes" : "no";
  const row = make("span", { class: "cond judged", "data-met": met }, make("i", { "aria-hidden": "true" }, one.met ? "✓" : "✗"), make("span", { class: "unseen" }, one.met ? "met: " : "not met: "));
  if (one.margin === null) {
    row.append(make("span", {}, `${one.text}: not known`));
    return row;
  }
  const digits = one.name === "rsi" ? 2 : decimals;
  const threshold = one.name === "rsi" ? "" : ` ${fixed(one.threshold, digits)}`;
  const away = one.margin_pct === null ? `${fixed(Math.abs(one.margin), digits)} points` : `${fixed(Math.abs(one.margin_pct), 2)} %`;
  const margin = make("b", { class: "margin" }, `${one.met ? "met by" : "missed by"} ${away}`);
  row.append(make("span", { class: "num" }, `${one.text}${threshold}: ${fixed(one.value, digits)} at ${clock(one.time_ms)}, `, margin));
  return row;
}

function blockingRow(one) {
  const since = one.from_ms === null ? "" : ` from ${clock(one.from_ms)}`;
  const until = one.to_ms === null ? "" : ` to ${clock(one.to_ms)}`;
  const why = one.why ? ` (${words(one.why)})` : "";
  return make("li", {}, `${reasonWords(one.reason)}${why}`, make("small", { class: "num" }, `${since}${until}${one.refused ? `, ${one.refused} entries` : ""}`));
}

function happenedRow(one, decimals) {
  const price = one.price === undefined ? "" : ` at ${fixed(one.price, decimals)}`;
  const more = one.what === "order" ? `${one.side} ${words(one.reason)}` : words(one.reason);
  return make("li", {}, make("time", {}, clock(one.time_ms)), ` ${one.what}: ${more}${price}`);
}

const listed = (rows, none) => (rows.length ? rows : [make("li", { class: "free" }, none)]);

function local(ms) {
  const t = new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE);
  return t.toISOString().slice(0, 16);
}
