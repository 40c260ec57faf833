/** Numbers, ages and times as a person reads them; pure. Unknown is a dash, never 0. */

const DASH = "–";
const makers = new Map();

function maker(digits) {
  if (!makers.has(digits)) {
    makers.set(digits, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return makers.get(digits);
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 67123.4 → "67,123.40" with `digits` decimals. */
export function fixed(value, digits) {
  return known(value) ? maker(digits).format(value).replace("-", "−") : DASH;
}

/** With its sign, so that colour is never the only hint. */
export function signed(value, digits) {
  if (!known(value)) return DASH;
  const shown = maker(digits).format(Math.abs(value));
  if (Number(shown.replaceAll(",", "")) === 0) return shown;
  return (value > 0 ? "+" : "−") + shown;
}

/** "up", "down" or "flat" for colouring. */
export function side(value) {
  if (!known(value) || Math.abs(value) < 1e-9) return "flat";
  return value > 0 ? "up" : "down";
}

export const percent = (value, digits = 2) => (known(value) ? `${signed(value, digits)} %` : DASH);

/** A quantity without trailing zeros, at most 8 decimals. */
export function quantity(value) {
  return known(value) ? new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 }).format(value) : DASH;
}

/** How many decimals the prices of these candles need, 0 to 8. */
export function decimalsOf(candles) {
  let most = 0;
  for (const candle of candles.slice(-200)) {
    for (const value of [candle.open, candle.high, candle.low, candle.close]) {
      most = Math.max(most, value.toFixed(8).replace(/0+$/, "").split(".")[1].length);
    }
  }
  return most;
}

/** Decimals for a price when no candle is there to tell. */
export const guessDecimals = (price) => (price >= 1000 ? 2 : price >= 1 ? 4 : 8);

/** Microseconds as µs, ms or s. */
export function latency(us) {
  if (!known(us) || us <= 0) return DASH;
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return `${(us / 1e6).toFixed(1)} s`;
}

/** A span of ms: "0.4 s", "48 s", "3 m 12 s", "2 h 5 m", "3 d 4 h". */
export function span(ms) {
  if (!known(ms)) return DASH;
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const pad = (n) => String(n).padStart(2, "0");

/** Clock time of this device, with the day where it is not today. */
export function clock(ms, seconds = true) {
  const t = new Date(ms);
  const now = new Date();
  const time = `${pad(t.getHours())}:${pad(t.getMinutes())}${seconds ? `:${pad(t.getSeconds())}` : ""}`;
  const today = t.toDateString() === now.toDateString();
  return today ? time : `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${time}`;
}

/** Words for the machine's names: mean_reversion → "mean reversion". */
export const words = (name) => String(name).replaceAll("_", " ");

/** [base, quote] of a pair's name in the usual spellings. */
export function split(pair) {
  const found = /^(?:[A-Z]{1,2}-)?([A-Z0-9]+)[_/]([A-Z0-9]+)$/.exec(pair);
  if (found) return [found[1], found[2]];
  const plain = /^([A-Z0-9]+?)(FDUSD|USDT|USDC|BUSD|TUSD|USD|INR|EUR|GBP|BTC|ETH|BNB|JPY|TRY|BRL)$/.exec(pair);
  return plain ? [plain[1], plain[2]] : [pair, ""];
}
