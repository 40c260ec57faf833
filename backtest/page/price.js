/* The price chart: candles of one pair, volume, and an arrow at each entry and exit that is in sight. */

const MOST_ARROWS = 400; // at once: more would only be a smear
const LEG_WIDTH = 70; // pixels a leg needs for the words at its two arrows

class PriceChart {
  constructor(run, legs) {
    this.run = run;
    this.legs = legs;
    this.pair = null;
    this.chart = LWC.createChart(at("price-chart"), chartOptions());
    wheelAfterClick(at("price-chart"), this.chart);
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    this.volume = this.chart.addSeries(LWC.HistogramSeries, { ...quiet, priceScaleId: "volume", priceFormat: { type: "volume" } });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.88, bottom: 0 } });
    this.candles = this.chart.addSeries(LWC.CandlestickSeries, { priceLineVisible: false });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.16 } });
    this.arrows = LWC.createSeriesMarkers(this.candles, []);
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.later());
    this.chart.subscribeCrosshairMove((event) => this.legend(event.time));
    at("price-all").onclick = () => showAll(this.chart, this.times.length);
    onScheme(() => this.recolour());
  }

  recolour() {
    const [up, down] = [css("--up"), css("--down")];
    this.chart.applyOptions(chartOptions());
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    this.volume.setData(this.times.map((time, i) => ({ time, value: this.pair.volume[i], color: css(this.pair.close[i] >= this.pair.open[i] ? "--volume-up" : "--volume-down") })));
    this.showArrows();
  }

  setPair(number) {
    const pair = this.run.pairs[number];
    this.pair = pair;
    this.number = number;
    this.times = pair.at.map((step) => pair.begin + step * pair.width);
    this.candles.applyOptions({ priceFormat: { type: "custom", formatter: (price) => fixed(price, pair.digits), minMove: 10 ** -pair.digits } });
    this.candles.setData(this.times.map((time, i) => ({ time, open: pair.open[i], high: pair.high[i], low: pair.low[i], close: pair.close[i] })));
    this.own = this.legs.filter((leg) => leg.pair === number);
    const merged = pair.merged ? ", put together so that the page stays small" : "";
    text("price-note", pair.at.length ? `candles of ${length(pair.width)}${merged}; ${HOW}` : "");
    this.recolour();
    this.legend(null);
    showAll(this.chart, this.times.length);
  }

  /** The bar that holds a time, as the chart wants it. */
  bar(ms) {
    const wanted = ms / 1000;
    let [low, high] = [0, this.times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= wanted) low = middle + 1;
      else high = middle;
    }
    return this.times[Math.max(0, low - 1)];
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.showArrows(), 60);
  }

  showArrows() {
    const range = this.chart.timeScale().getVisibleRange();
    if (!range || !this.times.length) return;
    const seen = this.own.filter((leg) => leg.exit_ms / 1000 >= range.from && leg.entry_ms / 1000 <= range.to + this.pair.width);
    const step = Math.max(1, Math.ceil(seen.length / MOST_ARROWS));
    const kept = seen.filter((_, i) => i % step === 0);
    const named = kept.length * LEG_WIDTH <= this.chart.timeScale().width();
    const size = kept.length > 60 ? 0.6 : 1;
    const made = [];
    for (const leg of kept) {
      const ghost = leg.ghost === "ghost" ? ", ghost" : "";
      made.push({ time: this.bar(leg.entry_ms), position: "belowBar", shape: "arrowUp", color: css("--key-entry"), text: named ? words(leg.entry_reason) + ghost : "", size });
      const won = leg.profit > 0;
      made.push({ time: this.bar(leg.exit_ms), position: "aboveBar", shape: "arrowDown", color: css(won ? "--up" : "--down"), text: named ? `${words(leg.exit_reason)} ${signed(leg.profit, this.run.digits)}` : "", size });
    }
    for (const entry of this.run.open.filter((item) => item.pair === this.number)) {
      made.push({ time: this.bar(entry.entry_ms), position: "belowBar", shape: "arrowUp", color: css("--key-entry"), text: named ? `${words(entry.reason)}, still held` : "held", size: 1 });
    }
    made.sort((a, b) => a.time - b.time);
    this.arrows.setMarkers(made);
    this.shown = made.length;
  }

  legend(time) {
    const { pair } = this;
    const i = time === null || time === undefined ? pair.at.length - 1 : (time - pair.begin) / pair.width;
    const place = time === null || time === undefined ? i : pair.at.indexOf(i);
    if (place < 0 || place >= pair.at.length) return;
    const f = (value) => fixed(value, pair.digits);
    text("price-legend", `${moment(this.times[place] * 1000)}   O ${f(pair.open[place])}  H ${f(pair.high[place])}  L ${f(pair.low[place])}  C ${f(pair.close[place])}`);
  }

  /** Zooms to one leg, some candles around it. */
  goTo(leg) {
    if (leg.pair !== this.number) {
      at("price-pair").value = leg.pair;
      this.setPair(leg.pair);
    }
    const around = Math.max((leg.exit_ms - leg.entry_ms) / 1000, this.pair.width * 30);
    const last = this.times[this.times.length - 1];
    const from = Math.max(this.times[0], leg.entry_ms / 1000 - around);
    const to = Math.min(last, leg.exit_ms / 1000 + around);
    if (from < to) this.chart.timeScale().setVisibleRange({ from, to });
    at("price").scrollIntoView({ block: "start" });
  }
}

function drawPrice(run, legs) {
  const withBars = run.pairs.findIndex((pair) => pair.at.length);
  if (withBars < 0) return null;
  show("price");
  const chart = new PriceChart(run, legs);
  const select = at("price-pair");
  run.pairs.forEach((pair, number) => pair.at.length && select.append(make("option", { value: number }, pair.pair)));
  select.hidden = select.options.length < 2;
  select.onchange = () => chart.setPair(Number(select.value));
  chart.setPair(withBars);
  return chart;
}
