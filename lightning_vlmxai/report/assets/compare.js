// Rounds of runs against the first run's, curves on one axis, and the probes that two runs part in.

const letter = (i) => h("span", { class: `badge side-${i}` }, page.letters[i]);

function both(title, top, get, band) {
  const numbers = [...new Set(page.curves.flat().map((round) => round.number))].sort((a, b) => a - b);
  const lines = page.curves.map((curve) => new Map(curve.map((round) => [round.number, round])));
  const values = (side, of) => numbers.map((number) => (lines[side].has(number) ? of(lines[side].get(number)) : null));
  return lineChart({ title, top, height: 180, xs: numbers, names: numbers.map((number) => `round ${number}`),
    series: page.curves.map((_, side) => ({ name: page.letters[side], cls: `side-${side}`, shape: side % 4, dash: side ? "6 3" : null,
      values: values(side, get), band: band && page.curves.length === 2 ? values(side, band) : null })) });
}

function shareCell(share) {
  if (!share || !share[1]) return h("td", { class: "number" }, "–");
  return h("td", { class: "number" }, decimals(share[2]), " ", h("span", { class: "ends" }, `${share[0]} of ${share[1]}`));
}

function differenceCell(of) {
  if (!of) return h("td", { class: "number" }, "–");
  return h("td", { class: of.sure ? "number sure" : "number" }, signed(of.value), " ",
    h("small", { class: "ends" }, of.ends ? `${signed(of.ends[0])} to ${signed(of.ends[1])}` : ""),
    h("small", { class: "ends" }, of.sure ? ` p ${of.p < 0.001 ? "< .001" : `= ${of.p.toFixed(3)}`}` : " chance"));
}

function headOf(name) {
  return h("tr", null, h(name ? "th" : "td", null, name), page.letters.split("").map((_, i) => h("th", null, letter(i))),
    page.letters.split("").slice(1).map((of) => h("th", null, `${of} − A`)));
}

function rowOf(row, name) {
  return h("tr", null, h("th", { scope: "row" }, name), row.shares.map(shareCell), row.differences.map(differenceCell));
}

function tableOf(id, label, head, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", { class: "plain", id }, h("thead", null, head), h("tbody", null, rows)));
}

function figuresOf(view) {
  const named = (row) => {
    const q = page.quadrants.find((of) => of.name === row.name);
    return q ? [badge(q), " ", q.name] : row.name;
  };
  const score = h("tr", null, h("th", { scope: "row" }, "Average score"), view.scores.map((value) => h("td", { class: "number" }, decimals(value))),
    view.scores.slice(1).map((value) => h("td", { class: "number" }, has(value) && has(view.scores[0]) ? signed(value - view.scores[0]) : "–")));
  const shared = view.figures.flatMap((row) => row.differences).find((of) => has(of?.shared));
  return [h("h2", null, `Rates at ${view.name}`),
    h("p", { class: "hint" }, shared
      ? "Each run's rates are over all that it judged, accuracy over all it explained; differences over the probes that count in both (McNemar's test, exact below 25 pairs that part; Newcombe's paired 95 % interval)."
      : "The runs have different probes: differences are those of independent rates (Fisher's test, Newcombe's 95 % interval)."),
    tableOf("figures", "Rates", headOf(""), [...view.figures.map((row) => rowOf(row, named(row))), score])];
}

function classesOf(section, view) {
  let wanted = "", all = false;
  const holder = h("div");
  const draw = () => {
    const found = view.classes.filter((row) => row.name.toLowerCase().includes(wanted));
    const shown = all ? found : found.slice(0, 15);
    holder.replaceChildren(
      view.classes.length ? tableOf("class-rows", "Correct-Low by true class", headOf("Class"), shown.map((row) => rowOf(row, isolated(row.name || "(no name)")))) : h("p", { class: "hint" }, "There is no class to compare."),
      found.length > shown.length ? h("button", { type: "button", onclick: () => {
        all = true;
        draw();
      } }, `Show all ${found.length} classes`) : "");
  };
  section.replaceChildren(view.classes.length > 15 ? h("div", { class: "bar" }, searchBox("class-search", "Find a class", "", (text) => {
    wanted = text.toLowerCase();
    draw();
  })) : "", holder);
  draw();
}

const quadrantOf = (side, i) => page.quadrants[page.tables[side].samples.quadrant[i]];
const transition = ([a, b]) => `${quadrantOf(0, a).short} → ${quadrantOf(1, b).short}`;

function side(table, i, at) {
  const sample = sampleAt(table, i);
  return h("div", null,
    h("div", { class: "row" }, h("span", null, letter(at), " ", badge(sample.of)), scoreText(sample)),
    view(sample, "masked"), view(sample, "heat"),
    sample.partly ? h("p", { class: "ends" }, sample.partly) : "",
    h("p", null, isolated(sample.prediction), h("span", { class: "ends" }, ` ${percent(sample.confidence)}`)),
    words(sample.evaluation));
}

function pair(own) {
  const sample = sampleAt(page.tables[0], own[0]);
  return h("li", null, h("div", { class: "row" }, h("span", null, h("strong", null, `probe ${sample.probe}`), " · ", isolated(sample.label)), h("span", { class: "ends" }, transition(own))),
    h("div", { class: "sides" }, page.tables.map((table, k) => side(table, own[k], k))));
}

function differ(section, all, wanted, onwant) {
  if (!all.length) {
    section.replaceChildren(h("p", { class: "hint" }, "None."));
    return;
  }
  const counts = new Map();
  for (const own of all) counts.set(transition(own), (counts.get(transition(own)) ?? 0) + 1);
  const list = h("ul", { class: "differ" });
  const more = h("button", { type: "button" });
  let shown = 24;
  const draw = () => {
    const found = all.filter((own) => !wanted || transition(own) === wanted);
    list.replaceChildren(...found.slice(0, shown).map(pair));
    more.hidden = found.length <= shown;
    more.textContent = `Show more (${found.length - shown} left)`;
  };
  more.addEventListener("click", () => {
    shown += 24;
    draw();
  });
  const options = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => [name, `${name} (${count})`]);
  section.replaceChildren(
    h("div", { class: "bar" }, choose("transition", "From A to B", [["", `any (${all.length})`], ...options], wanted, (value) => {
      wanted = value;
      shown = 24;
      draw();
      onwant(value);
    })), list, more);
  draw();
}

// The address holds the rounds and the transition, so that it can be shared.
function show() {
  const asked = new URLSearchParams(location.hash.replace(/^#\/?\??/, ""));
  const chosen = page.views.find((of) => of.key === asked.get("rounds")) ?? page.views[0];
  const said = [];
  if (asked.get("rounds") && chosen?.key !== asked.get("rounds")) said.push(`rounds "${asked.get("rounds")}"`);
  if (!chosen) {
    $("#chosen").replaceChildren(h("p", { class: "hint" }, "There are no two rounds to compare."));
    return;
  }
  const go = (change) => {
    const query = new URLSearchParams({ rounds: chosen.key, ...change });
    history.replaceState(null, "", `#/?${query}`);
    if (change.rounds) show();
  };
  let wanted = asked.get("change") ?? "";
  if (wanted && !chosen.differ.some((own) => transition(own) === wanted)) {
    said.push(`change "${wanted}"`);
    wanted = "";
  }
  $("#lines").replaceChildren(...chosen.sentences.map((line, i) => h("p", { class: i ? null : "first" }, isolated(line))));
  $("#at").textContent = chosen.name;
  $("#chooser").replaceChildren(choose("rounds", "Rounds", page.views.map((of) => [of.key, of.name]), chosen.key, (rounds) => go({ rounds })));
  $("#chosen").replaceChildren(unknownNotice(said), ...figuresOf(chosen));
  classesOf($("#classes"), chosen);
  if ($("#differ")) differ($("#differ"), chosen.differ, wanted, (change) => go(change ? { change } : {}));
}

start(() => {
  const rate = (k) => (round) => round.rates[k];
  $("#charts").replaceChildren(
    both("Accuracy", 1, (round) => round.accuracy),
    ...page.quadrants.map((q, k) => both(`${q.name} rate`, 1, rate(k), k === 1 ? (round) => round.intervals[k] : null)),
    both("Average score", 5, (round) => round.score),
    both("Attention drift", 1, (round) => round.drift));
  show();
  window.addEventListener("hashchange", show);
});
