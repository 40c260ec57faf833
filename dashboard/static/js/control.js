/** Commands to the bot: each asked back, answered in words, and listed with who gave it and when. */

import { at, data, fill, make, text } from "./dom.js";
import { clock, words } from "./format.js";
import { post } from "./stream.js";

const ORDERS = [
  { action: "pause", label: "Pause", text: "No new entries from now on. What is held is kept, its stop and take-profit go on." },
  { action: "resume", label: "Resume", text: "Entries are taken again. Positions that a flatten has not sold yet are kept." },
  { action: "flatten", label: "Sell all now", text: "Everything held is sold at the market, at its next trade. No new entries until you resume." },
  { action: "halt", label: "Halt", text: "No new entries, and entries that still wait are cancelled. What is held is kept, its stop goes on, until you resume." },
];
const RESTART = "It ends and comes back within seconds with the settings applied last; nothing is lost. A trader that is away watches no stop for that long.";
const STATES = { active: "active", paused: "paused", reducing: "reducing: exits only", halted: "halted" };
const EXPIRES_MS = 10000;
const NEEDS_LOGIN = "Reading only: control needs DASHBOARD_PASSWORD in .env, then make restart. On the machine itself: make pause, make resume, make flatten, make halt.";

let allowed = false;

export function setUpControl(page) {
  allowed = page.login;
  at("control").hidden = false;
  at("log-out").hidden = !allowed;
  at("log-out").onclick = logOut;
  at("orders").replaceChildren(...ORDERS.map(makeOrder));
  if (!allowed) say("muted", NEEDS_LOGIN);
}

export function showControl({ health }) {
  const state = health.trading_state?.state ?? null;
  text("trading-state", STATES[state] ?? state ?? "not known yet");
  data("trading-state", "state", state ?? "unknown");
  const reason = health.trading_state?.reason;
  text("trading-why", reason && state !== "active" ? words(reason) : "");
  fill("said-list", JSON.stringify(health.commands), () => [...health.commands].reverse().map(makeSaid));
  text("said-count", String(health.commands.length));
  for (const row of at("stages").children) if (!row.querySelector(".again")) row.children[0].append(makeAgain(row));
}

function makeOrder({ action, label, text: what }) {
  const button = make("button", { type: "button", class: "order", "data-action": action }, label);
  return guarded(button, () => ask({ action }, `${label}?`, what, label));
}

/** The restart beside a stage's light. */
function makeAgain(row) {
  const stage = row.querySelector("span").textContent;
  const button = make("button", { type: "button", class: "again", "aria-label": `Restart ${stage}`, title: `Restart ${stage}` }, "↻");
  return guarded(button, () => ask({ action: "restart", stage }, `Restart ${stage}?`, RESTART, "Restart"));
}

function guarded(button, click) {
  button.disabled = !allowed;
  if (!allowed) {
    button.title = NEEDS_LOGIN;
    button.setAttribute("aria-describedby", "control-result");
  }
  button.onclick = click;
  return button;
}

/** Asks back; only its own Yes sends anything. */
function ask(command, title, what, yes) {
  const dialog = at("ask");
  if (dialog.open) return;
  text("ask-title", title);
  text("ask-text", what);
  text("ask-yes", yes);
  data("ask-yes", "action", command.action);
  at("ask-why").value = "";
  dialog.returnValue = "no";
  dialog.onclose = () => dialog.returnValue === "yes" && send({ ...command, reason: at("ask-why").value.trim() });
  // Return in the line of words must not press the first button, nor the second.
  at("ask-why").onkeydown = (event) => event.key === "Enter" && event.preventDefault();
  dialog.showModal();
}

async function send(command) {
  const name = [command.action, command.stage].filter(Boolean).join(" ");
  say("busy", `${name}: sent, waiting for the answer…`);
  try {
    const { status, body } = await post("api/control", { ...command, id: makeId(), expires_ms: EXPIRES_MS });
    if (status === 200) say("good", `${name}: ${body.text}`);
    else say(body.known === false ? "warn" : "bad", `${name}: ${body.error ?? `answered ${status}`}`);
  } catch {
    say("warn", `${name}: no answer from the dashboard. It is not known whether it was carried out: look at the state and at the last commands.`);
  }
}

/** An id of our own: sent twice by whatever lies between, the command is still carried out once. */
function makeId() {
  return `page-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function say(tone, line) {
  text("control-result", line);
  data("control-result", "tone", tone);
}

function makeSaid({ time_ms: time, who, text: what, why }) {
  const when = make("time", { class: "num", datetime: new Date(time).toISOString(), title: new Date(time).toLocaleString() }, clock(time));
  return make("li", {}, when, make("b", {}, who), make("span", {}, why ? `${what} (${why})` : what));
}

async function logOut() {
  try {
    await post("logout", {});
    location.assign("login");
  } catch (error) {
    say("bad", `The logout was not answered (${error.message}): you may still be logged in.`);
  }
}
