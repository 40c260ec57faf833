/* Tables that sort by a click on a column's head and show a page of rows at a time. */

const PAGE_ROWS = 25;

/**
 * `columns`: {label, value(row) to sort by, cell(row) giving text or a node, right, sign}. Unknown values stay last
 * whichever way it sorts. `pager` is the element for the buttons, where there may be more rows than one page.
 */
function sortable(box, columns, rows, { pager = null, onRow = null, sorted = null, down = false } = {}) {
  const state = { by: sorted, down, page: 0 };
  const body = make("tbody");
  const heads = columns.map((column, i) => {
    const button = make("button", { type: "button" }, column.label);
    const head = make("th", { scope: "col", class: column.right ? "r" : null }, button);
    button.onclick = () => {
      state.down = state.by === i ? !state.down : Boolean(column.right);
      state.by = i;
      state.page = 0;
      draw();
    };
    return head;
  });
  box.replaceChildren(make("table", { class: "grid" }, make("thead", {}, make("tr", {}, ...heads)), body));

  function ordered() {
    if (state.by === null) return rows;
    const { value } = columns[state.by];
    const way = state.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === null || right === null) return (left === null) - (right === null);
      return (left > right ? 1 : left < right ? -1 : 0) * way;
    });
  }

  function draw() {
    heads.forEach((head, i) => {
      if (i === state.by) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const from = state.page * PAGE_ROWS;
    body.replaceChildren(...ordered().slice(from, from + PAGE_ROWS).map((row) => {
      const made = make("tr", {}, ...columns.map((column) => {
        const value = column.value(row);
        return make("td", { class: column.right ? "r" : null, "data-side": column.sign ? side(value) : null }, column.cell(row));
      }));
      if (onRow) made.onclick = () => onRow(row);
      return made;
    }));
    if (pager && rows.length > PAGE_ROWS) turn();
  }

  function turn() {
    const pages = Math.ceil(rows.length / PAGE_ROWS);
    const button = (label, page) => {
      const made = make("button", { type: "button", class: "chip" }, label);
      made.disabled = page < 0 || page >= pages || page === state.page;
      made.onclick = () => { state.page = page; draw(); };
      return made;
    };
    const first = state.page * PAGE_ROWS + 1;
    pager.replaceChildren(
      button("First", 0), button("Previous", state.page - 1), button("Next", state.page + 1), button("Last", pages - 1),
      make("span", { class: "num" }, `${first.toLocaleString("en-US")} to ${Math.min(rows.length, first + PAGE_ROWS - 1).toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")}`),
    );
  }

  draw();
}

function drawLegs(run, legs, chart) {
  if (!run.legs_total) return;
  show("trades");
  const left = run.legs_total - legs.length;
  const tag = `${run.legs_total.toLocaleString("en-US")} legs${left ? `, the newest ${legs.length.toLocaleString("en-US")} here` : ""}`;
  text("trades-tag", chart ? `${tag}; a click shows one in the chart` : tag);
  const price = (leg, value) => fixed(value, run.pairs[leg.pair].at.length ? run.pairs[leg.pair].digits : value >= 1000 ? 2 : 6);
  const plain = (label, name) => ({ label, value: (leg) => leg[name], cell: (leg) => words(leg[name]) });
  const figure = (label, value, cell, sign = false) => ({ label, value, cell, right: true, sign });
  const list = [
    figure("#", (leg) => leg.number, (leg) => leg.number.toLocaleString("en-US")),
    { label: "Entry", value: (leg) => leg.entry_ms, cell: (leg) => moment(leg.entry_ms) },
    ...(run.pairs.length > 1 ? [{ label: "Pair", value: (leg) => run.pairs[leg.pair].pair, cell: (leg) => run.pairs[leg.pair].pair }] : []),
    figure("Net", (leg) => leg.profit, (leg) => signed(leg.profit, run.digits), true),
    figure("Return", (leg) => leg.return, (leg) => `${signed(leg.return * 100, 3)} %`, true),
    figure("In at", (leg) => leg.entry_price, (leg) => price(leg, leg.entry_price)),
    figure("Out at", (leg) => leg.exit_price, (leg) => price(leg, leg.exit_price)),
    figure("Quantity", (leg) => leg.quantity, (leg) => quantity(leg.quantity)),
    figure("Costs", (leg) => leg.costs, (leg) => fixed(leg.costs, run.digits)),
    figure("Held", (leg) => leg.exit_ms - leg.entry_ms, (leg) => span(leg.exit_ms - leg.entry_ms)),
    plain("Entered by", "entry_reason"),
    plain("Left by", "exit_reason"),
    { label: "Ghost", value: (leg) => leg.ghost, cell: (leg) => make("span", { class: leg.ghost === "ghost" ? "ghost" : "" }, leg.ghost || "no") },
  ];
  sortable(at("trades-table"), list, legs, { pager: at("trades-pager"), onRow: chart ? (leg) => chart.goTo(leg) : null });
}

/** A table made by the report: {title, note, body: {columns, rows of [value, text], total}}. */
function tableCard(section) {
  const { columns, rows, total } = section.body;
  const more = total > rows.length ? `The first ${rows.length.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} rows. ` : "";
  const box = make("div", { class: "wide" });
  const pager = make("div", { class: "pager" });
  const list = columns.map((column, i) => ({
    label: column.label,
    value: (row) => row[i][0],
    cell: (row) => row[i][1],
    right: !column.text,
    sign: column.sign,
  }));
  if (rows.length) sortable(box, list, rows, { pager });
  else box.append(make("p", { class: "empty" }, "None."));
  return card(section.title, more + section.note, box, pager);
}

/** A heat map: the sign picks the colour, the size its strength. */
function heatCard(section) {
  const { body } = section;
  const all = body.values.flat().filter(known);
  const most = Math.max(1e-300, ...all.map(Math.abs));
  const best = all.length ? Math.max(...all) : null;
  const small = body.x_values.length > 24;
  const head = make("tr", {}, make("th", {}, `${body.y_name} ↓  ${body.x_name} →`), ...body.x_values.map((value) => make("th", { scope: "col" }, value)));
  const lines = body.values.map((row, y) => make("tr", {}, make("th", { scope: "row" }, body.y_values[y]), ...row.map((value, x) => {
    const words_ = `${body.y_name}=${body.y_values[y]}, ${body.x_name}=${body.x_values[x]}: ${body.texts[y][x]}`;
    const cell = make("td", { title: words_, "data-side": known(value) ? side(value) : null, "data-best": known(value) && value === best ? "" : null }, small ? "" : body.texts[y][x]);
    if (known(value)) cell.style.setProperty("--strength", `${Math.round((Math.abs(value) / most) * 62)}%`);
    return cell;
  })));
  const table = make("table", { class: "heat", "data-small": small ? "" : null }, make("thead", {}, head), make("tbody", {}, ...lines));
  return card(section.title, section.note, make("div", { class: "wide" }, table));
}
