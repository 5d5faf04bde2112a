// Headline figures, curves, the matrix and the classes of a chosen round.

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("div", { class: "name" }, name), h("div", { class: "value" }, value),
    h("div", { class: "more" }, more));
}

function since(now, first) {
  return has(now) && has(first) ? `${signed(now - first)} since the first round` : "";
}

function tiles(curve) {
  const judged = curve.filter((round) => round.judged && round.coverage);
  const last = judged.at(-1), first = judged.length > 1 ? judged[0] : null;
  if (!last) return h("p", { class: "hint" }, "No round has a judged sample: there is no rate to show.");
  return h("div", { class: "tiles", id: "tiles" },
    page.quadrants.map((q, k) => tile([badge(q), q.name], decimals(last.rates[k]),
      [k === LOW ? [`95 %: ${ends(last.intervals[k])}`, h("br")] : null, since(last.rates[k], first?.rates[k])])),
    tile("Accuracy", decimals(last.accuracy), ["of all explained", h("br"), since(last.accuracy, first?.accuracy)]),
    tile("Average score", decimals(last.score), since(last.score, first?.score)),
    tile("Coverage", percent(last.coverage), `${last.judged} of ${last.probes} judged${last.kept ? `, ${last.kept} of them earlier` : ""}, ${roundName(last)}`));
}

function curves(curve, state) {
  const at = {
    xs: curve.map((round) => round.number), names: curve.map(roundLong),
    picked: () => curve.findIndex((round) => round.key === state.round),
    onpick: (i) => state.pick(curve[i].key),
  };
  const one = (title, note, name, top, get) => lineChart({ ...at, title, note, top, height: 150,
    series: [{ name, long: title, cls: "figure", shape: 0, values: curve.map(get) }] });
  const rates = lineChart({ ...at, title: "Quadrant rates and accuracy", top: 1, height: 260,
    note: `rates over the ${curve.some((round) => round.classes) ? "samples with a verdict, estimates where earlier ones stand" : "judged samples of a round"}, accuracy over the explained; the band is Correct-Low's 95 % interval`,
    series: [{ name: "Acc", long: "Accuracy", cls: "accuracy", shape: 3, dash: "1 4", values: curve.map((round) => round.accuracy) }, ...page.quadrants.map((q, k) => ({ name: q.short, long: q.name, cls: q.id, shape: k,
      values: curve.map((round) => round.rates[k]),
      band: k === LOW ? curve.map((round) => round.intervals[k]) : null }))] });
  rates.classList.add("wide");
  return h("div", { class: "charts" }, rates,
    one("Average score", "0 to 5", "", 5, (round) => round.score),
    curve.some((round) => round.coverage < 1) ? one("Coverage", "judged of all probes", "", 1, (round) => round.coverage) : null,
    curve.some((round) => has(round.drift)) ? one("Attention drift", "1 − IoU with the last mask", "", 1, (round) => round.drift) : null,
    watchedCurves(at));
}

function cell(round, k) {
  const q = page.quadrants[k];
  const link = h("a", { class: `cell ${q.id}`, href: galleryHref({ round: round.key, quadrant: q.id }) },
    h("span", { class: "row" }, badge(q), h("span", { class: "more" }, q.name)),
    h("span", { class: "value" }, decimals(round.rates[k])),
    h("span", { class: "more" }, `${round.counts[k].toLocaleString("en")} of ${round.judged.toLocaleString("en")}`,
      round.intervals[k] ? ` · ${ends(round.intervals[k])}` : ""));
  link.style.setProperty("--share", String(round.rates[k] ?? 0));
  return link;
}

function matrix(round) {
  const missing = round.probes - round.scored;
  return h("div", null,
    h("div", { class: "matrix", id: "matrix" },
      h("span"), h("span", { class: "top" }, "High"), h("span", { class: "top" }, "Low"),
      h("span", { class: "side" }, "right"), cell(round, 0), cell(round, 1),
      h("span", { class: "side" }, "wrong"), cell(round, 2), cell(round, 3)),
    missing > 0 ? h("p", { class: "hint" },
      h("a", { href: galleryHref({ round: round.key, quadrant: "unscored" }) }, `${missing.toLocaleString("en")} unscored`),
      " of ", round.probes.toLocaleString("en"), ": counted in no rate.") : null,
    round.classes ? h("p", { class: "hint", id: "kept" }, tellKept(round)) : null,
    round.judged ? h("p", { class: "hint", id: "borderline" }, tellBorderline(round)) : null,
    round.partly ? h("p", { class: "hint", id: "partly" }, h("a", { href: galleryHref({ round: round.key, quadrant: "correct_low", find: "partly attended" }) }, `${round.partly} of ${round.counts[LOW]} Correct-Low`),
      " are partly attended: what is kept lies on the object and covers little of it.") : null);
}

function tellKept(round) {
  return `${round.kept} of ${round.judged} verdicts are of earlier rounds and stand; counts are of verdicts as they stand, rates are estimates, corrected by what became of those that were drawn to be judged anew.`;
}

function tellBorderline(round) {
  if (!round.askedAgain) return "Borderline: not known, as the judge was asked once about each sample.";
  const of = round.askedAgain === round.judged ? "judged" : "asked about more than once";
  return `Borderline: ${decimals(round.borderline / round.askedAgain)}, ${round.borderline} of ${round.askedAgain} ${of}: their scores are within the judge's own spread of the threshold.`;
}

function legend() {
  return h("ul", { class: "legend", id: "legend", "aria-label": "Quadrants" }, page.quadrants.map((q) =>
    h("li", null, badge(q), h("span", null, h("strong", null, q.name), ` ${q.means}`))));
}

const COLUMNS = [
  ["Class", (c) => c.name, 1], ["Probes", (c) => c.probes, -1], ["Judged", (c) => c.judged, -1],
  ["CL", (c) => c.rates[1], -1], ["CH", (c) => c.rates[0], -1], ["WH", (c) => c.rates[2], -1],
  ["WL", (c) => c.rates[3], -1], ["Score", (c) => c.score, -1],
];

function compareBy(get, direction) {
  return (a, b) => {
    const x = get(a), y = get(b);
    if (!has(x) || !has(y)) return has(x) ? -1 : has(y) ? 1 : 0; // what has no value comes last
    return direction * (typeof x === "string" ? x.localeCompare(y) : x - y);
  };
}

function sortButton(table, column, redraw) {
  const [name, , direction] = COLUMNS[column];
  const is = table.column === column;
  const q = page.quadrants.find((of) => of.short === name);
  return h("th", { "aria-sort": is ? (table.direction > 0 ? "ascending" : "descending") : null },
    h("button", { type: "button", "data-column": name, onclick: () => {
      table.direction = is ? -table.direction : direction;
      table.column = column;
      redraw();
    } }, q ? badge(q) : name, is ? (table.direction > 0 ? " ↑" : " ↓") : ""));
}

function classTable(round, state) {
  const holder = h("div", { id: "classes" }), table = state.table, classes = classesOf(round);
  const redraw = () => {
    const focused = document.activeElement?.dataset?.column;
    const rows = classes.filter((of) => of.name.toLowerCase().includes(table.find.toLowerCase()));
    if (table.column !== null) rows.sort(compareBy(COLUMNS[table.column][1], table.direction));
    const shown = table.all ? rows : rows.slice(0, 15);
    holder.replaceChildren(
      h("div", { class: "scroll" }, h("table", { class: "plain stacked classes" },
        h("thead", null, h("tr", null, COLUMNS.map((_, k) => sortButton(table, k, redraw)), page.curve.length > 1 ? h("th", null, "over the rounds") : null)),
        h("tbody", null, shown.map((of) => classRow(of, round))))),
      rows.length > shown.length ? h("button", { type: "button", onclick: () => {
        table.all = true;
        redraw();
      } }, `Show all ${rows.length} classes`) : "",
      rows.length ? "" : h("p", { class: "hint" }, classes.length ? "No class has this in its name." : "This folder has no samples of the round."));
    if (focused) $(`[data-column="${focused}"]`, holder)?.focus();
    state.keep();
  };
  const search = classes.length > 15 ? h("div", { class: "bar" }, searchBox("class", "Find a class", table.find, (find) => {
    table.find = find;
    redraw();
  })) : "";
  redraw();
  return h("div", null, search, holder);
}

function classRow(of, round) {
  return h("tr", null,
    h("th", { scope: "row" }, h("a", { href: galleryHref({ round: round.key, class: of.name }) }, isolated(of.name || "(no name)"))),
    h("td", { "data-name": "Probes" }, String(of.probes)), h("td", { "data-name": "Judged" }, String(of.judged)),
    h("td", { class: "number", "data-name": "CL" }, decimals(of.rates[LOW]), " ", h("span", { class: "ends" }, ends(of.intervals[LOW]))),
    [0, 2, 3].map((k) => h("td", { class: "number", "data-name": page.quadrants[k].short }, decimals(of.rates[k]))),
    h("td", { class: "number", "data-name": "Score" }, decimals(of.score)),
    page.curve.length > 1 ? h("td", { "data-name": "Rounds" }, sparkline(of.name)) : null);
}

// Correct-Low of the classes that the run was told to watch, with intervals.
function watchedCurves(at) {
  const names = page.watched.filter((name) => classSeries().has(name));
  return names.slice(0, 12).map((name) => lineChart({ ...at, title: name, note: "Correct-Low of this watched class, 95 % interval", top: 1, height: 150,
    series: [{ name: "", long: `${name}: Correct-Low`, cls: "correct_low", shape: 1,
      values: classSeries().get(name).map((at) => at?.rate ?? null),
      band: classSeries().get(name).map((at) => at?.ends ?? null) }] }));
}

function overview(section, query) {
  const curve = page.curve.map((i) => page.rounds[i]);
  if (!page.rounds.length) {
    section.replaceChildren(h("h2", null, "No round yet"),
      h("p", { class: "hint" }, "The first round is written when its verdicts are in: one validation later with the default lag. Where none ever comes, look into the training's log for lines that begin with vlmxai."));
    return;
  }
  if (page.isAudit) return auditOverview(section, query);
  const said = [], asked = query.get("round"), sort = query.get("sort") ?? "";
  const found = page.rounds.find((of) => of.key === asked);
  if (asked && !found) said.push(`round "${asked}"`);
  const column = COLUMNS.findIndex(([name]) => name === sort.replace(/^-/, ""));
  if (sort && column < 0) said.push(`column "${sort}"`);
  const usual = curve.findLast((round) => round.judged && round.coverage) ?? page.rounds.at(-1);
  const state = { round: (found ?? usual).key,
    table: { column: column < 0 ? null : column, direction: sort.startsWith("-") ? -1 : 1, all: query.has("all"), find: query.get("class") ?? "" } };
  // The address follows what is chosen, so that it can be shared.
  state.keep = () => {
    const of = state.table, now = new URLSearchParams();
    if (state.round !== usual.key) now.set("round", state.round);
    if (of.column !== null) now.set("sort", (of.direction < 0 ? "-" : "") + COLUMNS[of.column][0]);
    if (of.all) now.set("all", "1");
    if (of.find) now.set("class", of.find);
    keepAddress(now.size ? `#/?${now}` : "#/");
  };
  const chosen = h("div");
  const charts = curves(curve, state);
  state.pick = (key) => {
    state.round = key;
    const round = page.rounds.find((of) => of.key === key);
    chosen.replaceChildren(h("div", { class: "pair" },
      h("div", null, h("h2", null, "Quadrants of the round"), matrix(round), correctedRates(round)),
      h("div", null, h("h2", null, "True classes, worst Correct-Low first"), classTable(round, state))));
    $("select", picker).value = key;
    charts.querySelectorAll(".chart").forEach((chart) => chart.redraw());
  };
  const picker = choose("chosen-round", "Round", page.rounds.map((round) => [round.key, roundLong(round)]), state.round, state.pick);
  section.replaceChildren(unknownNotice(said), finding() ?? "", tiles(curve), legend(), charts,
    h("div", { class: "bar" }, picker, h("p", { class: "keys" }, "Click a curve, or focus it and press ", h("kbd", null, "←"), " ", h("kbd", null, "→"), ", to choose a round.")),
    chosen, ...page.grouped.length ? groupParts(page.rounds[page.grouped[0].round], new URLSearchParams(), () => {}) : []);
  state.pick(state.round);
}
