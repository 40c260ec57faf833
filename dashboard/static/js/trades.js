/** Round trips from the ledger's rows, as a table; the equity as a small line. */

import { at, data, fill, make, text } from "./dom.js";
import { clock, fixed, percent, quantity, side, signed, span, split, words } from "./format.js";
import { pairLabel } from "./header.js";

const SHOWN = 20;

/** Rows of `trades` (oldest first) as round trips, newest first; an entry without its exit stands alone. */
export function rounds(rows) {
  const open = new Map();
  const found = [];
  for (const row of rows) {
    if (row.action === "buy") {
      const round = { pair: row.pair, buy: row, sell: null };
      open.set(row.pair, round);
      found.push(round);
    } else {
      const round = open.get(row.pair);
      open.delete(row.pair);
      if (round) round.sell = row;
      else found.push({ pair: row.pair, buy: null, sell: row });
    }
  }
  return found.reverse();
}

export function showTrades({ trades, decimals, page }) {
  const found = rounds(trades).slice(0, SHOWN);
  data("trades", "many", page.pairs.length > 1 ? "yes" : "no");
  at("trades").closest("table").hidden = found.length === 0;
  at("trades-empty").hidden = found.length > 0;
  text("trades-empty", "No trade yet. The first entry shows here the moment it is filled.");
  text("trades-tag", found.length ? `last ${found.length}` : "");
  const key = found.map((round) => `${round.buy?.id}/${round.sell?.id}`).join() + decimals;
  fill("trades", key, () => found.map((round) => makeRow(round, decimals)));
}

function makeRow({ pair, buy, sell }, decimals) {
  const last = sell ?? buy;
  const [, quote] = split(pair);
  const held = buy && sell ? span(Date.parse(sell.timestamp) - Date.parse(buy.timestamp)) : "–";
  const fees = (buy?.fee ?? 0) + (sell?.fee ?? 0);
  const net = sell?.profit ?? null;
  const cost = buy ? buy.price * buy.quantity : null;
  const result = sell
    ? [make("b", { "data-side": side(net) }, signed(net, 2)), make("small", {}, cost ? percent((100 * net) / cost) : quote)]
    : [make("b", { class: "open" }, "open")];
  return make(
    "tr",
    {},
    make("td", { class: "num" }, ...when(last.timestamp), make("small", { class: "pair-small" }, split(pair)[0])),
    make("td", { class: "col-pair" }, pairLabel(pair)),
    leg(buy, decimals),
    leg(sell, decimals),
    make("td", { class: "col-wide r num" }, quantity(last.quantity)),
    make("td", { class: "col-wide col-roomy r num" }, held),
    make("td", { class: "col-wide col-roomy r num" }, fixed(fees, 2)),
    make("td", { class: "r num net" }, ...result),
  );
}

/** The time of day, and the day beneath it where it is not today. */
function when(timestamp) {
  const [first, second] = clock(Date.parse(timestamp)).split(" ");
  const time = make("time", { datetime: timestamp }, second ?? first);
  return second ? [time, make("small", {}, first)] : [time];
}

function leg(row, decimals) {
  if (!row) return make("td", { class: "num" }, "–");
  return make("td", { class: "num" }, make("b", {}, fixed(row.price, decimals)), make("small", { "data-reason": row.reason }, words(row.reason)));
}

/** A line of balance plus position value over time, from the first that is known on: an account's is 0 until it was asked. */
export function showEquity(rows) {
  const all = rows.map((row) => row.balance + row.position_value).filter(Number.isFinite);
  const values = all.slice(Math.max(0, all.findIndex((value) => value !== 0)));
  const low = Math.min(...values);
  const high = Math.max(...values);
  const drawn = values.length > 1 && high > low;
  at("spark").toggleAttribute("hidden", !drawn);
  if (!drawn) return;
  const step = Math.max(1, Math.ceil(values.length / 160));
  const kept = values.filter((_, i) => i % step === 0 || i === values.length - 1);
  const points = kept.map((v, i) => `${((160 * i) / (kept.length - 1)).toFixed(1)},${(30 - (28 * (v - low)) / (high - low)).toFixed(1)}`);
  at("spark-line").setAttribute("points", points.join(" "));
  data("spark", "side", side(values[values.length - 1] - values[0]));
  at("spark").setAttribute("aria-label", `Equity from ${fixed(values[0], 2)} to ${fixed(values[values.length - 1], 2)}`);
}

/** Ghost entries: decided inside a candle whose close no longer called for them. */
export function showGhosts(ghosts, quote) {
  const judged = ghosts.legs + ghosts.confirmed;
  const share = judged ? `${ghosts.legs} of ${judged} (${fixed(100 * ghosts.share, 0)} %), ${signed(ghosts.profit, 2)} ${quote}` : "none judged yet";
  const others = judged ? `; confirmed by their closed candle: ${signed(ghosts.confirmed_profit, 2)} ${quote}` : "";
  text("ghosts", `Ghost entries: ${share}${others}${ghosts.unknown ? `; ${ghosts.unknown} unknown` : ""}`);
}
