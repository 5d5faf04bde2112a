// What people's ratings make of the chosen round's rates: three figures side by side.

function correctedRow(row) {
  const one = ([value, ...interval], strong) => h("td", { class: "number" },
    strong ? h("strong", null, decimals(value)) : decimals(value), h("small", { class: "ends" }, ends(interval)));
  const q = page.quadrants[row.quadrant];
  const by = row.judge ? `${row.rated} rated by ${row.raters === 1 ? "1 person" : `${row.raters} people`}, lambda ${decimals(row.power)}` : "";
  return h("tr", null, h("th", { scope: "row" }, badge(q), " ", row.name, h("small", { class: "ends" }, by)),
    row.judge ? [one(row.judge), one(row.corrected, true), one(row.people)] : h("td", { colspan: "3" }, "nobody rated one of these"));
}

function correctedRates(round) {
  const of = page.corrected[round.key], rated = Object.keys(page.corrected);
  if (!of) return rated.length ? h("p", { class: "hint", id: "uncorrected" }, `People rated ${rated.map((key) => key.replace("-", " ")).join(", ")}: this round's rates stand as the judge made them.`) : null;
  return h("div", { id: "corrected-round" }, h("h3", null, "Corrected by people"),
    h("div", { class: "scroll" }, h("table", { class: "plain stacked" },
      h("thead", null, h("tr", null, ["Rate of Low", "Judge", "Corrected", "People alone"].map((name) => h("th", null, name)))),
      h("tbody", null, of.rows.map(correctedRow)))),
    of.notes.map((note) => h("p", { class: "hint" }, isolated(note))));
}
