// Curves of two runs on one axis, and the probes that the runs put into different quadrants.

const RUNS = [["A", "figure"], ["B", "second"]];

function both(title, top, get, band) {
  const numbers = [...new Set(page.curves.flat().map((round) => round.number))].sort((a, b) => a - b);
  const lines = page.curves.map((curve) => new Map(curve.map((round) => [round.number, round])));
  const values = (side, of) => numbers.map((number) => (lines[side].has(number) ? of(lines[side].get(number)) : null));
  return lineChart({ title, top, height: 180, xs: numbers, names: numbers.map((number) => `round ${number}`),
    series: RUNS.map(([name, cls], side) => ({ name, cls, shape: side, dash: side ? "6 3" : null,
      values: values(side, get), band: band ? values(side, band) : null })) });
}

function transition(i) {
  const [from, to] = page.tables.map((table) => page.quadrants[table.samples.quadrant[i]]);
  return `${from.short} → ${to.short}`;
}

function side(table, i, letter) {
  const sample = sampleAt(table, i);
  return h("div", null,
    h("div", { class: "row" }, h("span", null, h("span", { class: `badge side-${letter.toLowerCase()}` }, letter), " ", badge(sample.of)), h("strong", null, decimals(sample.score, 1))),
    view(sample, "masked"), view(sample, "heat"),
    h("p", null, isolated(sample.prediction), h("span", { class: "ends" }, ` ${percent(sample.confidence)}`)),
    words(sample.evaluation));
}

function pair(i) {
  const sample = sampleAt(page.tables[0], i);
  return h("li", null, h("div", { class: "row" }, h("span", null, h("strong", null, `probe ${sample.probe}`), " · ", isolated(sample.label)), h("span", { class: "ends" }, transition(i))),
    h("div", { class: "sides" }, page.tables.map((table, k) => side(table, i, RUNS[k][0]))));
}

function differ(section) {
  const all = page.tables[0].samples.probe.map((_, i) => i);
  if (!all.length) {
    section.replaceChildren(h("p", { class: "hint" }, "None."));
    return;
  }
  const counts = new Map();
  for (const i of all) counts.set(transition(i), (counts.get(transition(i)) ?? 0) + 1);
  const list = h("ul", { class: "differ" });
  const more = h("button", { type: "button" });
  let shown = 24, wanted = "";
  const draw = () => {
    const found = all.filter((i) => !wanted || transition(i) === wanted);
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
    h("div", { class: "bar" }, choose("transition", "From A to B", [["", `any (${all.length})`], ...options], "", (value) => {
      wanted = value;
      shown = 24;
      draw();
    })), list, more);
  draw();
}

start(() => {
  const rate = (k) => (round) => round.rates[k];
  $("#charts").replaceChildren(
    ...page.quadrants.map((q, k) => both(`${q.name} rate`, 1, rate(k), k === 1 ? (round) => round.intervals[k] : null)),
    both("Average score", 5, (round) => round.score),
    both("Attention drift", 1, (round) => round.drift));
  differ($("#differ"));
});
