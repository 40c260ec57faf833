/** "Why no trade now": every condition of entry (when flat) or exit (when long), met or not, and what blocks entries. */

import { at, fill, make, text } from "./dom.js";
import { fixed, percent, words } from "./format.js";
import { alive } from "./stages.js";

const BLOCKS = {
  warming_up: "the indicators are still warming up",
  stale: "the market data is stale",
  paused: "paused by the operator (make resume goes on)",
  reducing: "reducing: exits only",
  halted: "halted by a limit",
  costs_exceed_stop: "a round trip costs more than the stop's distance (COST_GATE=refuse)",
  cooldown: "cooling down after the last exit",
  max_daily_loss: "MAX_DAILY_LOSS is reached",
  max_drawdown_pct: "MAX_DRAWDOWN_PCT is reached",
  max_consecutive_losses: "MAX_CONSECUTIVE_LOSSES is reached",
  max_orders_per_minute: "MAX_ORDERS_PER_MINUTE is reached",
  max_open_positions: "MAX_OPEN_POSITIONS is reached",
  indicator_settings_differ: "indicators run with other settings: make restart STAGE=indicators",
  journal_failing: "the trader's journal cannot be written: see its log",
  untaped: "the tape cannot be written (disk nearly full?)",
  market_inactive: "the venue does not trade this pair now",
  no_market: "the market's rules are not known yet",
  below_minimum: "the wallet is too small for the venue's minimum",
  gap: "market data was missed: waiting for whole indicators",
  degraded: "indicators are silent: only the trailing stop decides",
  blind: "catching up after a restart: nothing is decided",
};

/** Words for one reason; those about a stage name it and the cure. */
export function reasonWords(reason) {
  const [, what, stage] = /^(settings_differ|layout_differs|crash_loop)_(\w+)$/.exec(reason) ?? [];
  if (what === "settings_differ") return `${stage} runs with other settings: make restart STAGE=${stage}`;
  if (what === "layout_differs") return `${stage} is of another version: make restart`;
  if (what === "crash_loop") return `${stage} keeps dying or has given up: make logs STAGE=${stage}`;
  return BLOCKS[reason] ?? words(reason);
}

export function showWhy({ tick, page, decimals, health }) {
  const held = tick.entry_price !== null;
  const rules = held ? exitRules(tick, page, decimals) : entryRules(tick, page, decimals);
  text("why-title", held ? "What would sell" : "Why no entry now");
  // Rows are kept and their words changed: a list that is rebuilt five times a second cannot be read or selected.
  fill("why", rules.map((rule) => rule.title).join(), () => rules.map(makeRule));
  rules.forEach((rule, i) => updateRule(at("why").children[i], rule));
  const blocked = held ? [] : tick.blocked;
  const heard = tick.feed !== null && alive(health, "trader");
  fill("blocked", `${held}${heard}${blocked.join()}`, () => {
    if (!heard) return [make("li", {}, "The trader is not heard: nothing is decided.")];
    if (held) return [];
    if (!blocked.length) return [make("li", { class: "free" }, "Nothing else blocks an entry.")];
    return blocked.map((reason) => make("li", {}, `Blocked: ${reasonWords(reason)}`));
  });
}

function entryRules(tick, page, decimals) {
  const { rsi, price, bb_lower: band } = tick;
  const away = band !== null && price !== null ? ` (${percent((100 * (band - price)) / price)})` : "";
  return [
    {
      title: "Mean reversion",
      parts: [
        part(rsi !== null && rsi < page.rsi_buy, `RSI ${fixed(rsi, 1)} < ${page.rsi_buy}`),
        part(band !== null && price < band, `price < band ${fixed(band, decimals)}${away}`),
      ],
    },
    { title: "or crash catch", parts: [part(rsi !== null && rsi < page.rsi_crash, `RSI ${fixed(rsi, 1)} < ${page.rsi_crash}`)] },
  ];
}

function exitRules(tick, page, decimals) {
  const { rsi, price, stop_price: stop } = tick;
  const away = stop !== null && price !== null ? ` (${percent((100 * (stop - price)) / price)})` : "";
  return [
    { title: "Trailing stop", parts: [part(stop !== null && price <= stop, `price ≤ ${fixed(stop, decimals)}${away}`)] },
    { title: "or take profit", parts: [part(rsi !== null && rsi > page.rsi_sell, `RSI ${fixed(rsi, 1)} > ${page.rsi_sell}`)] },
  ];
}

const part = (met, words_) => ({ met, words: words_ });

function makeRule(rule) {
  const parts = rule.parts.map(() => make("span", { class: "cond" }, make("i", { "aria-hidden": "true" }), make("span", { class: "unseen" }), make("span", { class: "num" })));
  return make("li", {}, make("b", {}, rule.title), ...parts);
}

function updateRule(row, rule) {
  rule.parts.forEach((found, i) => {
    const node = row.children[i + 1];
    node.dataset.met = found.met ? "yes" : "no";
    text(node.children[0], found.met ? "✓" : "✗");
    text(node.children[1], found.met ? "met: " : "not met: ");
    text(node.children[2], found.words);
  });
}
