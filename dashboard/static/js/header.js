/** The top line: mode, pair, price with its age, and whether the page still hears the bot. */

import { at, data, make, text } from "./dom.js";
import { fixed, signed, span, split } from "./format.js";

const MODES = {
  sim: ["SIM", "simulated money"],
  live: ["LIVE", ""],
  halted: ["HALTED", "no new entries"],
  reducing: ["REDUCING", "exits only"],
  reconciling: ["RECONCILING", "checking with the venue"],
  replay: ["REPLAY", "recorded market"],
};

/** "BTC/USDT" of "B-BTC_USDT". */
export function pairLabel(pair) {
  const [base, quote] = split(pair);
  return quote ? `${base}/${quote}` : pair;
}

export function showHeader(store) {
  const { tick, page } = store;
  const [word, note] = MODES[tick.mode] ?? [String(tick.mode).toUpperCase(), ""];
  data(document.body, "mode", tick.mode);
  text("mode-word", word);
  const money = tick.venue === "sandbox" ? "real orders, play money" : "real money";
  text("mode-note", tick.mode === "live" ? money : page.live ? `${note}, ${money}` : note);
  text("pair-name", pairLabel(tick.pair));
  text("where", `${tick.venue} · ${tick.book}`);
  const price = text("price", fixed(tick.price, store.decimals));
  if (store.lastPrice !== undefined && tick.price !== store.lastPrice) {
    data(price, "move", tick.price > store.lastPrice ? "up" : "down");
  }
  store.lastPrice = tick.price ?? undefined;
  showTitle(store);
}

export function showTitle({ tick, decimals, link }) {
  if (!tick) return;
  const price = fixed(tick.price, decimals);
  const gain = tick.unrealized_pl === null ? "" : ` ${signed(tick.unrealized_pl, 2)}`;
  const away = link === "lost" ? "(no connection) " : "";
  document.title = `${away}${price}${gain} · ${pairLabel(tick.pair)} ${String(tick.mode).toUpperCase()}`;
}

/** The dot beside the price: age of the last trade, judged by the feeder's proof of the market. Called on a timer. */
export function showAge(store) {
  const { tick, page, tickAt } = store;
  if (!tick || tick.price_age_ms === null) return;
  const since = performance.now() - tickAt;
  const age = tick.price_age_ms + since;
  const proof = tick.market_age_ms === null ? age : Math.min(age, tick.market_age_ms + since);
  const limit = page.stale_seconds * 1000;
  data("age", "age", proof >= limit ? "stale" : age > Math.min(10_000, limit / 2) ? "slow" : "fresh");
  const quiet = age - proof > 3000 && age > 5000 ? `, market confirmed ${span(proof)} ago` : "";
  const word = proof >= limit ? "stale, " : "";
  text("age-text", `${word}${span(age)} ago${quiet}`);
}

export function showLink(state) {
  data(document.body, "link", state);
  text("link-text", { open: "live", lost: "no connection", waiting: "connecting" }[state]);
}

/** The pair selector: only where there is a choice. */
export function showPairs(store, rows, choose) {
  const select = at("pair-select");
  const many = rows.length > 1;
  if (select.hidden === many) {
    select.hidden = !many;
    at("pair-name").hidden = many;
    select.onchange = () => choose(select.value);
  }
  if (!many) return;
  const key = rows.map((row) => `${row.pair}${row.status}`).join();
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...rows.map((row) => make("option", { value: row.pair }, optionText(row))));
  }
  select.value = store.pair;
}

const optionText = (row) =>
  row.status === "idle" ? pairLabel(row.pair) : `${pairLabel(row.pair)} · ${row.status.replaceAll("_", " ")}`;
