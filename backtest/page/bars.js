/* Bars, meters and whiskers of plain boxes: they scale with the card and need no chart library. */

/** Columns of {name, value, text}; positive ones up from a common zero, negative ones down. `tone` picks the colours. */
function columns(id, rows, { tone = "sign", names = rows.map((row) => row.name), every = 1, edges = null } = {}) {
  const top = Math.max(0, ...rows.map((row) => row.value));
  const bottom = Math.min(0, ...rows.map((row) => row.value));
  const whole = top - bottom || 1;
  const plot = make("div", { class: "plot", role: "img", "aria-label": rows.map((row) => row.text).join("; ").slice(0, 2000) });
  const told = make("p", { class: "told num" });
  for (const row of rows) {
    const bar = make("i");
    const height = (Math.abs(row.value) / whole) * 100;
    bar.style.height = `${height}%`;
    bar.style.top = `${((top - Math.max(0, row.value)) / whole) * 100}%`;
    bar.hidden = row.value === 0;
    const column = make("div", { class: "col", title: row.text, "data-side": tone === "sign" ? side(row.value) : row.side ?? null }, bar);
    column.onpointerenter = () => { told.textContent = row.text; };
    plot.append(column);
  }
  const zero = make("div", { class: "zero" });
  zero.style.top = `${(top / whole) * 100}%`;
  plot.append(zero);
  plot.style.position = "relative";
  const below = edges
    ? make("div", { class: "names edges num" }, ...edges.map((edge) => make("span", {}, edge)))
    : make("div", { class: "names num" }, ...names.map((name, i) => make("span", {}, i % every ? "" : name)));
  at(id).replaceChildren(plot, below, told);
}

const pick = (rows, value) => rows.reduce((best, row) => (value(row) > value(best) ? row : best), rows[0]);

function drawGroups(run) {
  const offset = run.day_offset ? `UTC ${run.day_offset > 0 ? "+" : "−"}${Math.abs(run.day_offset)} min` : "UTC";
  text("hours-tag", offset);
  text("weekdays-tag", offset);
  columns("hours", run.hours, { every: 3 });
  columns("weekdays", run.weekdays, { names: run.weekdays.map((row) => row.name.slice(0, 2)) });
  columns("costs", run.costs);
  text("costs-tag", run.quote);
}

/** A histogram with what lies outside as its own columns at the ends. */
function drawHistogram(id, bins, edgeText, sideOf) {
  const total = bins.counts.reduce((sum, count) => sum + count, bins.below + bins.above);
  if (!total) {
    at(id).replaceChildren(make("p", { class: "empty" }, "No completed leg."));
    return;
  }
  const share = (count) => `${count.toLocaleString("en-US")} legs, ${fixed((count / total) * 100, 1)} %`;
  const rows = bins.counts.map((count, i) => ({
    value: count,
    text: `${edgeText(bins.edges[i])} to ${edgeText(bins.edges[i + 1])}: ${share(count)}`,
    side: sideOf(bins.edges[i]),
  }));
  const [first, last] = [bins.edges[0], bins.edges[bins.edges.length - 1]];
  if (bins.below) rows.unshift({ value: bins.below, text: `below ${edgeText(first)}: ${share(bins.below)}`, side: sideOf(first - 1) });
  if (bins.above) rows.push({ value: bins.above, text: `${edgeText(last)} and more: ${share(bins.above)}`, side: sideOf(last) });
  columns(id, rows, { tone: "own", edges: [edgeText(first), edgeText(last)] });
}

function drawHistograms(run) {
  const percent = (value) => `${signed(value * 100, 3).replace(/0+$/, "").replace(/\.$/, "")} %`;
  drawHistogram("returns", run.returns, percent, (edge) => (edge < 0 ? "down" : "up"));
  const used = lastUsed(run.holding);
  drawHistogram("holding", used, (seconds) => (seconds ? span(seconds * 1000).replace(/ 0 [a-z]$/, "").replace(".0", "") : "0 s"), () => null);
}

/** Holding times without the empty bins after the longest and before the shortest. */
function lastUsed(bins) {
  const used = bins.counts.map((count, i) => (count ? i : -1)).filter((i) => i >= 0);
  if (!used.length) return bins;
  const [first, last] = [Math.min(...used), Math.max(...used)];
  return { ...bins, edges: bins.edges.slice(first, last + 2), counts: bins.counts.slice(first, last + 1) };
}

function drawExposure(run) {
  at("exposure").replaceChildren(...run.exposure.map((row) => {
    const fill = make("i");
    fill.style.width = `${Math.min(100, row.value * 100)}%`;
    return make("div", { class: "meter" }, make("p", {}, row.name, make("b", { class: "num" }, row.text)), make("div", { class: "bar" }, fill));
  }));
}

/** Each interval as a line with its estimate as a dot, and a dashed mark where chance alone would be. */
function drawIntervals(run) {
  const { intervals } = run;
  if (!intervals) return;
  show("sure");
  text("sure-level", intervals.level);
  text("sure-tag", `drawings with a profit: ${intervals.chance}`);
  text("sure-how", intervals.how);
  at("sure-rows").replaceChildren(...intervals.rows.map((row) => {
    const [low, estimate, high] = row.numbers;
    const whisker = make("div", { class: "whisker", "aria-hidden": "true" });
    if (known(low) || known(high)) {
      const seen = [low, estimate, high, row.neutral].filter(known);
      const [from, to] = [Math.min(...seen), Math.max(...seen)];
      const room = (to - from || 1) * 0.06;
      const place = (value) => `${((value - from + room) / (to - from + 2 * room || 1)) * 100}%`;
      const line = make("i", { class: "line" });
      line.style.left = known(low) ? place(low) : "0";
      line.style.right = known(high) ? `calc(100% - ${place(high)})` : "0";
      const neutral = make("i", { class: "neutral" });
      neutral.style.left = place(row.neutral);
      whisker.append(line, neutral);
      if (known(estimate)) {
        const dot = make("i", { class: "dot" });
        dot.style.left = place(estimate);
        whisker.append(dot);
      }
    }
    return make("div", { class: "row" }, make("span", {}, row.label), make("b", { class: "num" }, row.estimate), whisker, make("span", { class: "range num" }, row.range));
  }));
}
