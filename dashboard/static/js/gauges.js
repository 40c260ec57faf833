/** RSI against its three thresholds, and where the price stands between the bands. */

import { at, data, text } from "./dom.js";
import { fixed } from "./format.js";

/** Places the zones once the thresholds are known. */
export function setUpGauges(page) {
  const { rsi_crash: crash, rsi_buy: buy, rsi_sell: sell } = page;
  const place = (id, left, width) => {
    at(id).style.left = `${left}%`;
    at(id).style.width = `${width}%`;
  };
  place("zone-crash", 0, crash);
  place("zone-buy", crash, Math.max(0, buy - crash));
  place("zone-sell", sell, 100 - sell);
  for (const [id, value] of [["tick-crash", crash], ["tick-buy", buy], ["tick-sell", sell]]) {
    text(id, String(value)).style.left = `${value}%`;
  }
  text("rsi-kind", `RSI ${page.rsi_period}, ${page.rsi_kind === "ema" ? "EMA smoothing" : "Wilder smoothing"}`);
  text("bb-kind", `${page.bb_period}, ${page.bb_stddev}σ`);
  text("timeframe", page.timeframe);
}

export function showGauges({ tick, page, decimals }) {
  text("warmth", tick.warm ? "warm" : tick.needed === null ? "waiting" : `${tick.closed}/${tick.needed} candles`);
  data("warmth", "tone", tick.warm ? "good" : "warn");
  showRsi(tick, page);
  showBand(tick, decimals);
}

function showRsi(tick, page) {
  const needle = at("rsi-needle");
  needle.hidden = tick.rsi === null;
  text("rsi", fixed(tick.rsi, 1));
  text("rsi-words", tick.rsi === null ? "not enough candles yet" : rsiWords(tick.rsi, page));
  if (tick.rsi === null) return;
  needle.style.left = `${tick.rsi}%`;
  at("rsi-bar").setAttribute("aria-valuenow", tick.rsi.toFixed(1));
}

function rsiWords(rsi, page) {
  if (rsi < page.rsi_crash) return `below ${page.rsi_crash}: crash catch`;
  if (rsi < page.rsi_buy) return `below ${page.rsi_buy}: oversold, buys under the lower band`;
  if (rsi > page.rsi_sell) return `above ${page.rsi_sell}: takes profit`;
  return `between ${page.rsi_buy} and ${page.rsi_sell}: no signal`;
}

function showBand(tick, decimals) {
  const { bb_lower: lower, bb_upper: upper, price } = tick;
  const whole = lower !== null && upper !== null && upper > lower && price !== null;
  const needle = at("band-needle");
  needle.hidden = !whole;
  if (!whole) return;
  // 0 is the lower band, 100 the upper one; the bar shows from -50 to 150.
  const place = (100 * (price - lower)) / (upper - lower);
  text("band", `${place.toFixed(0)} %`.replace("-", "−"));
  needle.style.left = `${Math.min(100, Math.max(0, (place + 50) / 2))}%`;
  at("band-bar").setAttribute("aria-valuenow", Math.min(150, Math.max(-50, place)).toFixed(0));
  text("band-lower", fixed(lower, decimals));
  text("band-middle", fixed(tick.bb_middle, decimals));
  text("band-upper", fixed(upper, decimals));
}
