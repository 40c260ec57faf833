/** The five tiles: position, unrealised, distance to the stop, realised, wallet. */

import { amount, at, data, text } from "./dom.js";
import { fixed, percent, quantity, side, signed, span, split, words } from "./format.js";

const STATUS = {
  warming_up: "Warming up",
  idle: "Flat",
  entering: "Entering",
  in_position: "In position",
  exiting: "Exiting",
};

export function showTiles(store) {
  const { tick, decimals } = store;
  const [base, quote] = split(tick.pair);
  const held = tick.entry_price !== null;
  data("tile-position", "status", tick.status);
  text("status", STATUS[tick.status] ?? words(tick.status));
  text("position-sub", positionLine(store, base));

  data("tile-unrealised", "side", side(tick.unrealized_pl));
  amount("unrealised", held ? signed(tick.unrealized_pl, 2) : "–", held ? quote : "");
  text("unrealised-sub", held ? percent(tick.unrealized_pct) : "no open position");

  const gap = held && tick.stop_price !== null ? tick.price - tick.stop_price : null;
  text("stop", gap === null ? "–" : percent((100 * -gap) / tick.price));
  text("stop-sub", gap === null ? "no stop while flat" : stopLine(tick, gap, quote, decimals));
  data("tile-stop", "near", gap !== null && gap / tick.price < 0.001 ? "yes" : null);

  text("costs", costsLine(tick));
  data("costs", "dear", tick.break_even_pct !== null && tick.break_even_pct > tick.stop_pct ? "yes" : null);

  data("tile-realised", "side", side(tick.realized_pl));
  amount("realised", signed(tick.realized_pl, 2), quote);
  text("realised-sub", realisedLine(store.health?.totals, quote));

  at("shadow").hidden = tick.shadow_trades === null;
  text("shadow", shadowLine(tick, quote));

  amount("wallet", fixed(tick.wallet_quote, 2), tick.wallet_quote === null ? "" : quote);
  text("wallet-sub", tick.wallet_base === null ? "waiting for the trader" : `${quantity(tick.wallet_base)} ${base}`);

  at("stake").hidden = tick.stake === null;
  text("stake", `an entry costs at most ${fixed(tick.stake, 2)} ${quote}`);
}

function positionLine({ tick, decimals }, base) {
  if (tick.status === "warming_up") {
    return tick.needed === null ? "waiting for candles" : `${tick.closed} of ${tick.needed} candles closed`;
  }
  if (tick.entry_price === null) return tick.status === "idle" ? "waiting for an entry" : "order is working";
  const age = tick.opened_ms === null || tick.time_ms === null ? "" : `, ${span(tick.time_ms - tick.opened_ms)}`;
  return `${quantity(tick.quantity)} ${base} at ${fixed(tick.entry_price, decimals)}${age}`;
}

function stopLine(tick, gap, quote, decimals) {
  const money = tick.quantity ? `, ${signed(-gap * tick.quantity, 2)} ${quote}` : "";
  const holder = { guardian: ", held by the guardian", venue: ", held by the venue", nobody: ", held by nobody" }[tick.stop_holder] ?? "";
  return `at ${fixed(tick.stop_price, decimals)}${money}${holder}`;
}

function costsLine(tick) {
  if (tick.break_even_pct === null) return "\u00a0";
  return `round trip costs ${fixed(tick.break_even_pct, 2)} %, stop ${quantity(tick.stop_pct)} %`;
}

/** Real fills beside the same orders on paper: the median difference, and what it came to. */
function shadowLine(tick, quote) {
  if (!tick.shadow_trades) return "no real fill compared with paper yet";
  const bps = Math.abs(tick.shadow_median_bps);
  const median = bps < 0.05 ? "as on paper" : `${fixed(bps, 1)} bps ${tick.shadow_median_bps > 0 ? "worse" : "better"} than paper`;
  return `median fill ${median}; in all ${signed(-tick.shadow_lost, 2)} ${quote}`;
}

function realisedLine(totals, quote) {
  if (!totals) return "\u00a0";
  if (!totals.trades) return totals.fees ? `no exit yet, fees ${fixed(totals.fees, 2)} ${quote}` : "no trade yet";
  return `${totals.wins} won, ${totals.losses} lost, fees ${fixed(totals.fees, 2)} ${quote}`;
}
