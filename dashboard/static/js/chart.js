/** The candle chart: bands, volume, RSI pane, trades as markers, and the four prices that matter as lines. */

import { at, text } from "./dom.js";
import { clock, fixed, words } from "./format.js";

const LWC = window.LightweightCharts;

const WORDS_BARS = 9; // candles that a marker's words take up

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seconds = (ms) => Math.floor(ms / 1000);

export class CandleChart {
  /** `pick(ms)` is told the start of the candle that was clicked on. */
  constructor(page, pick) {
    this.page = page;
    this.rows = new Map(); // time in s: row
    this.lines = {};
    this.levels = {};
    this.hover = null;
    this.decimals = 2;
    this.trades = [];
    const box = at("chart");
    this.chart = LWC.createChart(box, this.options());
    this.makeSeries();
    this.chart.subscribeCrosshairMove((event) => {
      this.hover = event.time ?? null;
      this.showLegend();
    });
    this.chart.subscribeClick((event) => event.time && pick(event.time * 1000));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.showToNow());
    at("to-now").onclick = () => this.chart.timeScale().scrollToRealTime();
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.recolour());
  }

  options() {
    const line = css("--line-soft");
    return {
      autoSize: true,
      layout: {
        background: { type: "solid", color: "transparent" },
        textColor: css("--muted"),
        fontFamily: getComputedStyle(document.body).fontFamily,
        fontSize: 11,
        attributionLogo: true,
        panes: { separatorColor: css("--line"), separatorHoverColor: css("--line"), enableResize: false },
      },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      crosshair: { mode: LWC.CrosshairMode.Normal },
      rightPriceScale: { borderColor: css("--line"), scaleMargins: { top: 0.12, bottom: 0.16 } },
      timeScale: {
        borderColor: css("--line"),
        timeVisible: true,
        secondsVisible: this.page.timeframe_ms < 60_000,
        rightOffset: 6,
        minBarSpacing: 1.5,
        tickMarkFormatter: (time, kind) => tickText(time, kind),
      },
      localization: {
        priceFormatter: (price) => fixed(price, this.decimals),
        timeFormatter: (time) => clock(time * 1000, this.page.timeframe_ms < 60_000),
      },
      handleScale: { axisPressedMouseMove: { price: false } },
    };
  }

  makeSeries() {
    const { chart } = this;
    const quiet = { lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false };
    this.volume = chart.addSeries(LWC.HistogramSeries, { ...quiet, priceScaleId: "volume", priceFormat: { type: "volume" } });
    chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.88, bottom: 0 } });
    this.bands = {
      bb_upper: chart.addSeries(LWC.LineSeries, { ...quiet, lineWidth: 1 }),
      bb_middle: chart.addSeries(LWC.LineSeries, { ...quiet, lineWidth: 1, lineStyle: LWC.LineStyle.Dotted }),
      bb_lower: chart.addSeries(LWC.LineSeries, { ...quiet, lineWidth: 1 }),
    };
    this.candles = chart.addSeries(LWC.CandlestickSeries, { autoscaleInfoProvider: (own) => this.widen(own()) });
    this.markers = LWC.createSeriesMarkers(this.candles, []);
    this.rsi = chart.addSeries(LWC.LineSeries, { priceLineVisible: false, lineWidth: 1.5, priceFormat: { type: "custom", formatter: (v) => v.toFixed(0), minMove: 0.1 }, autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }) }, 1);
    const [main, lower] = chart.panes();
    main.setStretchFactor(4);
    lower.setStretchFactor(1);
    this.rsi.priceScale().applyOptions({ scaleMargins: { top: 0.04, bottom: 0.04 } });
    this.rsiLines = ["rsi_crash", "rsi_buy", "rsi_sell"].map((name) =>
      this.rsi.createPriceLine({ price: this.page[name], lineWidth: 1, lineStyle: LWC.LineStyle.Dotted, axisLabelVisible: false, title: "" }),
    );
    this.recolour();
  }

  /** Entry and stop stay in sight while a position is held. */
  widen(info) {
    const wanted = ["entry", "stop"].map((name) => this.levels[name]).filter((v) => typeof v === "number");
    if (!info?.priceRange || !wanted.length) return info;
    const { minValue, maxValue } = info.priceRange;
    return { ...info, priceRange: { minValue: Math.min(minValue, ...wanted), maxValue: Math.max(maxValue, ...wanted) } };
  }

  recolour() {
    const up = css("--up");
    const down = css("--down");
    this.chart.applyOptions(this.options());
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    this.bands.bb_upper.applyOptions({ color: css("--band") });
    this.bands.bb_lower.applyOptions({ color: css("--band") });
    this.bands.bb_middle.applyOptions({ color: css("--band") });
    this.rsi.applyOptions({ color: css("--rsi") });
    const tones = ["--down", "--up", "--warn"];
    this.rsiLines.forEach((line, i) => line.applyOptions({ color: css(tones[i]) }));
    for (const [name, line] of Object.entries(this.lines)) line.applyOptions({ color: css(`--key-${name}`) });
    if (this.rows.size) this.setAll([...this.rows.values()]);
  }

  setDecimals(decimals) {
    if (decimals === this.decimals) return;
    this.decimals = decimals;
    const priceFormat = { type: "price", precision: decimals, minMove: 10 ** -decimals };
    for (const series of [this.candles, ...Object.values(this.bands)]) series.applyOptions({ priceFormat });
  }

  /** All candles anew, oldest first. */
  setAll(rows) {
    this.rows = new Map(rows.map((row) => [seconds(row.time), row]));
    const kept = [...this.rows.entries()].sort((a, b) => a[0] - b[0]);
    this.candles.setData(kept.map(([time, row]) => ({ time, open: row.open, high: row.high, low: row.low, close: row.close })));
    this.volume.setData(kept.map(([time, row]) => this.volumeBar(time, row)));
    for (const [name, series] of Object.entries(this.bands)) series.setData(kept.map(([time, row]) => point(time, row[name])));
    this.rsi.setData(kept.map(([time, row]) => point(time, row.rsi)));
    this.last = kept.length ? kept[kept.length - 1][0] : 0;
    this.showMarkers();
    this.showLegend();
  }

  /** The forming candle, or one corrected after its close; false where it is older than the chart can take. */
  update(row) {
    const time = seconds(row.time);
    if (time < this.last) return false;
    this.last = time;
    this.rows.set(time, row);
    this.candles.update({ time, open: row.open, high: row.high, low: row.low, close: row.close });
    this.volume.update(this.volumeBar(time, row));
    for (const [name, series] of Object.entries(this.bands)) series.update(point(time, row[name]));
    this.rsi.update(point(time, row.rsi));
    if (this.hover === null) this.showLegend();
    return true;
  }

  volumeBar(time, row) {
    return { time, value: row.volume, color: css(row.close >= row.open ? "--volume-up" : "--volume-down") };
  }

  setTrades(trades) {
    this.trades = trades;
    this.showMarkers();
  }

  showMarkers() {
    const first = this.rows.size ? Math.min(...this.rows.keys()) : Infinity;
    const made = [];
    for (const row of this.trades) {
      const bucket = Math.floor(Date.parse(row.timestamp) / this.page.timeframe_ms) * this.page.timeframe_ms;
      const time = seconds(bucket);
      if (!(time >= first)) continue;
      const buy = row.action === "buy";
      made.push({
        time,
        position: buy ? "belowBar" : "aboveBar",
        shape: buy ? "arrowUp" : "arrowDown",
        color: css(buy ? "--key-entry" : row.profit > 0 ? "--up" : "--down"),
        text: words(row.reason),
        size: 1,
      });
    }
    made.sort((a, b) => a.time - b.time);
    thinOut(made, (WORDS_BARS * this.page.timeframe_ms) / 1000, at("chart").clientWidth);
    this.markers.setMarkers(made);
  }

  /** The prices that matter: {entry, stop, buy, sell}, null where there is none. */
  setLevels(levels) {
    const titles = { entry: "entry", stop: "stop", buy: "buys below", sell: "sells above" };
    const styles = { entry: LWC.LineStyle.Solid, stop: LWC.LineStyle.Solid, buy: LWC.LineStyle.Dashed, sell: LWC.LineStyle.Dashed };
    this.levels = levels;
    for (const [name, price] of Object.entries(levels)) {
      const line = this.lines[name];
      if (price === null || price === undefined) {
        if (line) this.candles.removePriceLine(line);
        delete this.lines[name];
      } else if (!line) {
        this.lines[name] = this.candles.createPriceLine({ price, color: css(`--key-${name}`), lineWidth: name === "stop" ? 2 : 1, lineStyle: styles[name], axisLabelVisible: true, title: titles[name] });
      } else if (line.options().price !== price) {
        line.applyOptions({ price });
      }
      text(`key-${name}`, fixed(price, this.decimals));
    }
  }

  showLegend() {
    const row = this.rows.get(this.hover ?? this.last);
    if (!row) return;
    const f = (value) => fixed(value, this.decimals);
    text("legend", `${clock(row.time, this.page.timeframe_ms < 60_000)}  O ${f(row.open)}  H ${f(row.high)}  L ${f(row.low)}  C ${f(row.close)}`);
  }

  showToNow() {
    at("to-now").hidden = this.chart.timeScale().scrollPosition() > -2;
  }

  /** As many candles as are readable at this width. */
  fit() {
    const width = at("chart").clientWidth;
    const wanted = Math.max(30, Math.round(width / 9));
    const count = this.rows.size;
    this.chart.timeScale().setVisibleLogicalRange({ from: Math.max(-2, count - wanted), to: count + 5 });
  }
}

/** Words stay only where they have room, the newest first; the table below says them anyway. */
function thinOut(markers, room, width) {
  const next = {};
  for (const marker of [...markers].reverse()) {
    const near = next[marker.position] - marker.time < room;
    if (near || markers.length * 60 > width) marker.text = "";
    else next[marker.position] = marker.time;
  }
}

const point = (time, value) => (value === null || value === undefined ? { time } : { time, value });

function tickText(time, kind) {
  const t = new Date(time * 1000);
  if (kind <= LWC.TickMarkType.DayOfMonth) return `${t.getDate()} ${t.toLocaleString("en", { month: "short" })}`;
  const pad = (n) => String(n).padStart(2, "0");
  const minute = `${pad(t.getHours())}:${pad(t.getMinutes())}`;
  return kind === LWC.TickMarkType.TimeWithSeconds ? `${minute}:${pad(t.getSeconds())}` : minute;
}

/** Words over the chart while there is nothing to draw; null takes them away. */
export function veil(words_) {
  at("chart-veil").hidden = words_ === null;
  if (words_ !== null) text("chart-veil-text", words_);
}
