/* Reads the data that the file carries and draws every part that there is. */

const data = JSON.parse(at("data").textContent);

function drawTiles(run) {
  at("tiles").replaceChildren(...run.tiles.map((tile) => make("article", { class: "tile", "data-side": tile.side || null },
    make("h2", {}, tile.label), make("p", { class: "big num" }, tile.value), make("p", { class: "sub num" }, tile.below))));
}

function drawFigures(run) {
  show("figures");
  at("figure-groups").replaceChildren(...run.figures.map((group) => card(group.title, "", make("dl", {}, ...group.rows.map(([label, value, meaning, tone]) =>
    make("div", {}, make("dt", {}, label), make("dd", { class: "value", "data-side": tone || null }, value), make("dd", { class: "meaning" }, meaning)))))));
}

function drawSettings(run) {
  show("settings");
  at("settings-rows").replaceChildren(...run.settings.map(([name, value, meaning]) =>
    make("p", {}, make("code", {}, name), make("b", {}, value || "–"), make("small", {}, meaning))));
}

function drawTables(run) {
  const { tables } = run;
  at("ghosts").replaceChildren(...tableCard(tables.ghosts).querySelectorAll(".card-head, .wide"));
  const wanted = Object.keys(tables).filter((name) => !["ghosts", "sensitivity"].includes(name) && tables[name].body.rows.length);
  at("reasons").replaceChildren(...wanted.map((name) => tableCard(tables[name])));
  if (tables.sensitivity) {
    show("sensitivity");
    at("sensitivity").replaceChildren(...tableCard(tables.sensitivity).childNodes);
  }
}

function drawRun(run) {
  text("title", run.title);
  text("venue", run.venue);
  text("when", [run.when, run.about].filter(Boolean).join(" · "));
  drawTiles(run);
  const legs = run.legs.map((row) => Object.fromEntries(data.leg_columns.map((name, i) => [name, row[i]])));
  drawEquity(run);
  const chart = drawPrice(run, legs);
  drawGroups(run);
  drawHistograms(run);
  drawExposure(run);
  drawLegs(run, legs, chart);
  drawTables(run);
  drawIntervals(run);
  drawFigures(run);
  drawSettings(run);
}

function drawSections(sections) {
  at("sections").replaceChildren(...sections.map((section, i) => {
    const made = section.kind === "heat_map" ? heatCard(section) : tableCard(section);
    made.id = `section-${i}`;
    made.dataset.jump = section.title;
    return made;
  }));
}

function drawJumps() {
  const parts = [...document.querySelectorAll("main [data-jump]")].filter((part) => !part.hidden && part.childElementCount);
  at("jumps").replaceChildren(...parts.map((part) => make("a", { href: `#${part.id}` }, part.dataset.jump)));
}

if (data.run) drawRun(data.run);
else {
  text("title", data.title);
  at("pictures").remove();
  at("tiles").remove();
}
at("notices").replaceChildren(...[...(data.run?.notices ?? []), ...data.notes].map((words_) => make("p", { "data-level": "warn" }, words_)));
drawSections(data.sections);
drawJumps();
document.body.dataset.drawn = "yes";
