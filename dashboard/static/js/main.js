/** Joins the live link with the panels: one store, one function per kind of news. */

import { CandleChart, veil } from "./chart.js";
import { setUpControl, showControl } from "./control.js";
import { at, text } from "./dom.js";
import { setUpEvents, showEvents } from "./events.js";
import { decimalsOf, guessDecimals, split } from "./format.js";
import { setUpGauges, showGauges } from "./gauges.js";
import { showAge, showHeader, showLink, showPairs, showTitle } from "./header.js";
import { askMinute, forgetMinute, setUpMinute } from "./minute.js";
import { showRecovery } from "./recovery.js";
import { problems, showNotices, showStages } from "./stages.js";
import { connect, get } from "./stream.js";
import { showTiles } from "./tiles.js";
import { showEquity, showGhosts, showTrades } from "./trades.js";
import { showWhy } from "./why.js";

const CANDLES = 500;
const TRADES = 200;
const SETTLE_MS = 1200; // storage writes in batches: what just closed is asked for a moment later

const store = { page: null, pair: null, tick: null, tickAt: 0, health: null, logs: [], trades: [], decimals: 2, link: "waiting", lostAt: 0, bucket: null, lastTrade: null, loading: null, settling: 0 };
let chart = null;
let link = null;

async function start() {
  try {
    store.page = await get("api/page");
  } catch (error) {
    showNotices([{ level: "bad", text: `The dashboard does not answer (${error.message}). Trying again.` }]);
    setTimeout(start, 2000);
    return;
  }
  setUpControl(store.page);
  setUpGauges(store.page);
  setUpEvents(() => onLogs(store.logs));
  chart = new CandleChart(store.page, (ms) => askMinute(store, ms));
  setUpMinute(store);
  text("zone", `(${Intl.DateTimeFormat().resolvedOptions().timeZone})`);
  const asked = new URLSearchParams(location.search).get("pair");
  choose(store.page.pairs.includes(asked) ? asked : store.page.pairs[0]);
  setInterval(everySecond, 250);
}

function choose(pair) {
  link?.close();
  Object.assign(store, { pair, tick: null, bucket: null, lastPrice: undefined });
  const query = store.page.pairs.length > 1 ? `?pair=${encodeURIComponent(pair)}` : "";
  history.replaceState(null, "", `${location.pathname}${query}`);
  chart.setAll([]);
  chart.setLevels({ entry: null, stop: null, buy: null, sell: null });
  veil("Loading candles…");
  forgetMinute();
  loadCandles(true);
  loadTrades();
  link = connect(pair, { tick: onTick, health: onHealth, logs: onLogs, onLink });
}

/** History of the chosen pair; live candles go on over a failure, and the words say so. */
async function loadCandles(anew) {
  const { pair } = store;
  if (store.loading === pair) return;
  store.loading = pair;
  try {
    const rows = await get(`api/candles?limit=${CANDLES}&pair=${encodeURIComponent(pair)}`);
    if (pair !== store.pair) return;
    if (rows.length) {
      store.decimals = decimalsOf(rows);
      chart.setDecimals(store.decimals);
    }
    chart.setAll(rows);
    if (anew) chart.fit();
    veil(rows.length ? null : "No candles yet. They appear with the first trade of the market.");
  } catch (error) {
    if (anew) veil(`Candles cannot be loaded: ${error.message}`);
    setTimeout(() => pair === store.pair && loadCandles(anew), 3000);
  } finally {
    if (store.loading === pair) store.loading = null;
  }
}

async function loadTrades() {
  try {
    store.trades = await get(`api/trades?limit=${TRADES}`);
    showTrades(store);
    chart.setTrades(store.trades.filter((row) => row.pair === store.pair));
    showEquity(await get("api/equity"));
  } catch (error) {
    text("trades-empty", `Trades cannot be loaded: ${error.message}`);
    setTimeout(loadTrades, 3000);
  }
}

function onTick(tick) {
  if (tick.pair !== store.pair) return;
  const first = store.tick === null;
  Object.assign(store, { tick, tickAt: performance.now() });
  if (first && !chart.rows.size && tick.price !== null) store.decimals = guessDecimals(tick.price);
  showHeader(store);
  showTiles(store);
  showGauges(store);
  showWhy(store);
  chart.setLevels({ entry: tick.entry_price, stop: tick.stop_price, buy: tick.entry_price === null ? tick.buy_below : null, sell: tick.sell_above });
  if (tick.candle) onCandle(tick.candle);
  showNow();
}

function onCandle(candle) {
  if (!chart.rows.size) return loadCandles(true);
  if (store.bucket !== null && candle.time !== store.bucket && !store.settling) {
    // The one before is closed now: storage has its last word in a moment.
    store.settling = setTimeout(() => {
      store.settling = 0;
      loadCandles(false);
    }, SETTLE_MS);
  }
  store.bucket = candle.time;
  chart.update(candle);
}

function onHealth(health) {
  store.health = health;
  showStages(store);
  showControl(store);
  showRecovery(store);
  showPairs(store, health.pairs, choose);
  showGhosts(health.ghosts, split(store.pair)[1]);
  if (store.lastTrade !== null && health.last_trade_id !== store.lastTrade) setTimeout(loadTrades, 300);
  store.lastTrade = health.last_trade_id;
  showNow();
}

function onLogs(rows) {
  store.logs = rows;
  showEvents(rows, store.page.pairs.length > 1);
}

/** After a restart pairs, thresholds and candles may be others: then all begins anew. A session that is over leads to the login. */
async function compareSettings() {
  const page = await get("api/page").catch(() => null);
  if (page && JSON.stringify(page) !== JSON.stringify(store.page)) location.reload();
}

function onLink(state, silentMs) {
  if (state === "lost" || store.link === "lost") compareSettings();
  if (state === "lost" && store.link !== "lost") store.lostAt = performance.now() - silentMs;
  if (state === "open" && store.link === "lost") {
    loadCandles(false);
    loadTrades();
  }
  store.link = state;
  showLink(state);
  showTitle(store);
  showNow();
}

function showNow() {
  showNotices(problems({ ...store, lostFor: performance.now() - store.lostAt }));
}

function everySecond() {
  showAge(store);
  if (store.link === "lost") showNow();
}

at("main").dataset.ready = "yes";
start();
