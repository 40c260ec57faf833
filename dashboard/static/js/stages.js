/** A light per process with restarts and latency, the way from trade to fill, and what is known about holes in the data. */

import { at, data, fill, make, text } from "./dom.js";
import { clock, latency, span, words } from "./format.js";
import { disagreement } from "./recovery.js";

export function showStages({ health }) {
  const { stages, failing } = health;
  fill("stages", stages.map((stage) => stage.name).join(), () => stages.map(makeRow));
  stages.forEach((stage, i) => updateRow(at("stages").children[i], stage, health));
  showPath(health);
  text("health-tag", failing.length ? `${failing.length} failing` : "healthy");
  data("health-tag", "tone", failing.length ? "bad" : "good");
  text("data-quality", quality(health));
  const silent = (name) => (alive(health, name) ? null : "silent");
  data(document.body, "trader", silent("trader"));
  data(document.body, "market", silent("indicators"));
}

function makeRow(stage) {
  const name = make("th", { scope: "row" }, make("i", { class: "light", "aria-hidden": "true" }), make("span", {}, stage.name), make("small", {}));
  return make("tr", {}, name, make("td", { class: "num" }), make("td", { class: "num" }), make("td", { class: "num" }));
}

function updateRow(row, stage, health) {
  const { name, alive, last_seen_ms: seen, restarts, latency_us: us } = stage;
  data(row, "alive", alive ? "yes" : "no");
  const silent = seen === null ? "not heard yet" : `silent since ${clock(seen)}`;
  const differs = health.differs[name] ? `other ${health.differs[name]}: restart it` : "";
  const feed = name === "feeder" && health.feed && health.feed !== "stream" ? health.feed : "";
  text(row.children[0].children[2], alive ? differs || feed : silent);
  row.title = alive ? `${name} is alive` : `${name}: ${silent}`;
  const [, count, p50, p99] = row.children;
  text(count, restarts === null ? "–" : `${restarts}`);
  data(count, "some", restarts ? "yes" : null);
  text(p50, latency(us.p50));
  text(p99, latency(us.p99));
}

/** From a trade's arrival to what follows from it, step by step; a real order's parts; which stage takes the longest share. */
function showPath({ path, parts, slowest }) {
  const rows = [...path, ...parts];
  fill("path", rows.map((one) => one.step).join(), () => [...path.map((one) => makeStep(one)), ...parts.map((one) => makeStep(one, "part"))]);
  rows.forEach(({ minute, hour }, i) => {
    const [, ...cells] = at("path").children[i].children;
    [minute.p50, minute.p99, hour.p50, hour.p99].forEach((us, n) => text(cells[n], latency(us)));
    at("path").children[i].title = `${minute.count} in the last minute, at most ${latency(minute.max)}; ${hour.count} in the last hour, at most ${latency(hour.max)}`;
  });
  text("slowest", slowest ? `Slowest: ${slowest.stage}, ${words(slowest.span)}, p99 ${latency(slowest.p99)}` : "No trade went through in the last minute.");
}

function makeStep({ step }, kind) {
  return make("tr", { "data-step": step, class: kind }, make("th", { scope: "row" }, step), ...[1, 2, 3, 4].map(() => make("td", { class: "num" })));
}

function quality({ gaps, spans }) {
  const found = [];
  if (gaps.length) {
    const last = gaps[gaps.length - 1];
    found.push(`${gaps.length} gap${gaps.length > 1 ? "s" : ""}, last ${clock(last.time_ms)} ${last.stage ? `at ${last.stage} ` : ""}(${last.topic} ${last.first}–${last.last})`);
  }
  const last = spans.filter((one) => one.kind !== "blocked").pop();
  if (last) {
    found.push(`last ${last.kind} span ${clock(last.time_ms)}: ${last.why}`);
  }
  return found.length ? `Data: ${found.join("; ")}.` : "Data: no gaps, no blind spans.";
}

/** What is wrong right now, worst first, as {level, text}. */
export function problems({ tick, health, link, lostFor }) {
  const found = [];
  if (link === "lost") {
    found.push({ level: "bad", text: `Connection to the bot lost ${span(lostFor)} ago; what you see is old. Trying again by itself.` });
    return found;
  }
  found.push(...failures(health));
  const held = tick && tick.entry_price !== null && !["guardian", "venue"].includes(tick.stop_holder);
  if (held && (tick.stop_holder === "nobody" || !alive(health, "trader"))) {
    found.push({ level: "bad", text: "The trader is down while a position is open: its stop is not watched." });
  }
  if (tick?.stop_holder === "guardian") {
    found.push({ level: "warn", text: "The trader does not act: the guardian holds the stop and sells when the price falls to it." });
  }
  if (tick?.stop_holder === "venue") {
    found.push({ level: "warn", text: "The trader does not act and the guardian gets no price: a stop rests at the venue." });
  }
  if (health?.watchdog_silent_since_ms) found.push({ level: "warn", text: `The watchdog is silent since ${clock(health.watchdog_silent_since_ms)}: a stage that hangs is not restarted.` });
  for (const [stage, what] of Object.entries(health?.differs ?? {})) {
    const cure = what === "settings" ? `make restart STAGE=${stage}` : "make restart";
    found.push({ level: "warn", text: `${stage} runs with other ${what === "layout" ? "record layouts" : "settings"}; no entries until it is restarted: ${cure}` });
  }
  if (tick?.mode === "halted" || tick?.mode === "reducing") {
    const { state, reason } = health?.trading_state ?? {};
    found.push({ level: "warn", text: `Trading is ${state === "paused" ? state : tick.mode}${reason ? `: ${words(reason)}` : ""}. No new entries; exits go on.` });
  }
  const differs = disagreement(health);
  if (differs) found.push(differs);
  for (const book of health?.left_open ?? []) found.push({ level: "warn", text: `Another book was left with an open position: ${book}. It is not watched while this one runs.` });
  if (tick?.feed === "degraded") found.push({ level: "warn", text: "Degraded: no indicators arrive, only the trailing stop decides." });
  if (tick?.feed === "blind") found.push({ level: "warn", text: "Blind span: the trader catches up with the tape and decides nothing." });
  if (health?.feed === "down") found.push({ level: "warn", text: "The venue cannot be reached; the feeder tries again by itself." });
  return found;
}

/** Whether a stage is heard; true before anything is known. */
export const alive = (health, name) => health?.stages.find((stage) => stage.name === name)?.alive ?? true;

/** The failing checks of /healthz, put together: silent stages in one line, and not what only follows from them. */
function failures(health) {
  const failing = health?.failing ?? [];
  const silent = (health?.stages ?? []).filter((stage) => !stage.alive);
  const never = silent.filter((stage) => stage.last_seen_ms === null).map((stage) => stage.name);
  const found = [];
  const looping = health?.crash_loops ?? [];
  for (const { stage, what, why } of looping) {
    const state = what === "gave up" ? "has given up" : "keeps dying";
    found.push({ level: "bad", text: capital(`${stage} ${state}${why ? ` (${why})` : ""}. No entries until it stays up, exits go on: make logs STAGE=${stage}`) });
  }
  if (never.length) found.push({ level: "warn", text: `Waiting for ${list(never)}. If it takes long: make status, and var/log/${never[0]}.log` });
  for (const { check, text: words_ } of failing) {
    const [kind, stage] = check.split(":");
    const follows = (check === "market" && !alive(health, "feeder")) || (check === "trader" && !(alive(health, "feeder") && alive(health, "trader")));
    const told = kind === "stage" && (never.includes(stage) || looping.some((one) => one.stage === stage));
    if (!follows && !told) found.push({ level: "bad", text: capital(words_) });
  }
  return found;
}

const list = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}` : names[0]);

const capital = (line) => line.charAt(0).toUpperCase() + line.slice(1);

export function showNotices(found) {
  const key = found.map((one) => one.level + one.text.replace(/[\d.]+ (s|m|h)\b/g, "")).join("|");
  fill("notices", key, () => found.map((one) => make("p", { "data-level": one.level }, one.text)));
  found.forEach((one, i) => text(at("notices").children[i], one.text));
}
