/* The equity chart: the run beside holding, and the drawdown in a pane below. */

const LWC = window.LightweightCharts;

function chartOptions() {
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
    rightPriceScale: { borderColor: css("--line") },
    timeScale: { borderColor: css("--line"), timeVisible: true, minBarSpacing: 0.01, rightOffset: 2, tickMarkFormatter: tickText },
    localization: { timeFormatter: (time) => moment(time * 1000) },
  };
}

/** The wheel zooms only after a click into the chart: until then it scrolls the page. */
function wheelAfterClick(box, chart) {
  const wheel = (on) => chart.applyOptions({
    handleScale: { mouseWheel: on, axisPressedMouseMove: { price: false } },
    handleScroll: { mouseWheel: on, vertTouchDrag: false },
  });
  wheel(false);
  box.addEventListener("pointerdown", () => wheel(true));
  box.addEventListener("pointerleave", () => wheel(false));
}

/** The whole time, with room at the left so that the first label is not cut. */
function showAll(chart, count) {
  chart.timeScale().setVisibleLogicalRange({ from: -0.02 * count, to: 1.01 * count });
}

const HOW = "drag to move; click, then scroll to zoom; pinch on a phone";

function tickText(time, kind) {
  const iso = new Date(time * 1000).toISOString();
  const day = `${Number(iso.slice(8, 10))} ${"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ")[Number(iso.slice(5, 7)) - 1]}`;
  if (kind === LWC.TickMarkType.Year) return iso.slice(0, 4);
  if (kind <= LWC.TickMarkType.DayOfMonth) return day;
  return kind === LWC.TickMarkType.TimeWithSeconds ? iso.slice(11, 19) : iso.slice(11, 16);
}

const points = (line) => line.seconds.map((time, i) => ({ time, value: line.values[i] }));

function drawEquity(run) {
  const { curves, digits } = run;
  if (!curves) return;
  show("equity");
  const format = (value) => fixed(value, Math.abs(value) >= 1000 && digits === 2 ? 0 : digits);
  const chart = LWC.createChart(at("equity-chart"), chartOptions());
  wheelAfterClick(at("equity-chart"), chart);
  text("equity-note", `points of ${length(curves.step)}; ${HOW}`);
  const priceFormat = { type: "custom", formatter: format, minMove: 10 ** -digits };
  const quiet = { priceLineVisible: false, lastValueVisible: false, priceFormat };
  const hold = curves.hold ? chart.addSeries(LWC.LineSeries, { ...quiet, lineWidth: 1, crosshairMarkerVisible: false }) : null;
  const equity = chart.addSeries(LWC.LineSeries, { ...quiet, lineWidth: 2, lastValueVisible: true });
  const percent = { type: "custom", formatter: (value) => `${fixed(value * 100, 2)} %`, minMove: 0.0001 };
  const fallen = chart.addSeries(LWC.AreaSeries, { ...quiet, lineWidth: 1, priceFormat: percent, invertFilledArea: true }, 1);
  const [main, lower] = chart.panes();
  main.setStretchFactor(3);
  lower.setStretchFactor(1);
  equity.setData(points(curves.equity));
  fallen.setData(points(curves.drawdown));
  if (hold) hold.setData(points(curves.hold));
  else at("key-hold").hidden = true;
  const opening = equity.createPriceLine({ price: run.opening, lineWidth: 1, lineStyle: LWC.LineStyle.Dotted, axisLabelVisible: false, title: "" });

  const recolour = () => {
    chart.applyOptions(chartOptions());
    equity.applyOptions({ color: css("--key-entry") });
    hold?.applyOptions({ color: css("--key-hold") });
    fallen.applyOptions({ lineColor: css("--key-stop"), topColor: `${css("--key-stop")}55`, bottomColor: `${css("--key-stop")}10` });
    opening.applyOptions({ color: css("--muted") });
  };
  recolour();
  onScheme(recolour);

  const index = new Map(curves.equity.seconds.map((time, i) => [time, i]));
  const legend = (time) => {
    const i = index.get(time) ?? curves.equity.seconds.length - 1;
    const held = curves.hold ? `   hold ${fixed(curves.hold.values[i], digits)}` : "";
    text("equity-legend", `${moment(curves.equity.seconds[i] * 1000)}   equity ${fixed(curves.equity.values[i], digits)}${held}   ${fixed(curves.drawdown.values[i] * 100, 2)} %`);
  };
  chart.subscribeCrosshairMove((event) => legend(event.time));
  legend(null);
  const all = () => showAll(chart, curves.equity.seconds.length);
  at("equity-all").onclick = all;
  all();
}
