/* Numbers and times as a person reads them; pure. Unknown is a dash, never 0. */

const DASH = "–";
const makers = new Map();

function maker(digits) {
  if (!makers.has(digits)) {
    makers.set(digits, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return makers.get(digits);
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

function fixed(value, digits) {
  if (!known(value)) return DASH;
  const shown = maker(digits).format(Math.abs(value));
  return value < 0 && /[1-9]/.test(shown) ? `−${shown}` : shown;
}

/** With its sign, so that colour is never the only hint. */
function signed(value, digits) {
  const shown = fixed(value, digits);
  return known(value) && value > 0 && /[1-9]/.test(shown) ? `+${shown}` : shown;
}

function side(value) {
  if (!known(value) || Math.abs(value) < 1e-12) return "flat";
  return value > 0 ? "up" : "down";
}

const quantity = (value) => (known(value) ? new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 }).format(value) : DASH);

/** A span of ms: "0.4 s", "48 s", "3 m 12 s", "2 h 5 m", "3 d 4 h". */
function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Date and time in UTC. */
const moment = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");

/** Words for the machine's names: mean_reversion → "mean reversion". */
const words = (name) => String(name).replaceAll("_", " ");

/** A length in s that is a whole number of its unit: "15 m". */
function length(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) if (seconds % size === 0) return `${seconds / size} ${unit}`;
  return `${seconds} s`;
}
