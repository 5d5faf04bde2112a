// The overview of an audit: a trained model on a whole data set, which has one round.

const REASONS = { pending: "waits for a batch file's answer" };

function auditTiles(round) {
  const cost = round.cost, count = (n) => n.toLocaleString("en");
  const rates = round.judged
    ? page.quadrants.map((q, k) => tile([badge(q), q.name], decimals(round.rates[k], placesOf(round.intervals[k])), [`95 %: ${endsOf(round.intervals[k])}`, h("br"), `${count(round.counts[k])} of ${count(round.judged)}`]))
    : [tile([badge(UNLABELLED[0]), "Low"], decimals(round.scored ? 1 - round.high / round.scored : null, placesOf(round.low)), round.low ? [`95 %: ${endsOf(round.low)}`, h("br"), `${count(round.scored - round.high)} of ${count(round.scored)}`] : "none judged")];
  return h("div", { class: "tiles audit", id: "tiles" }, rates,
    has(round.accuracy) ? tile("Accuracy", decimals(round.accuracy), "of all explained") : null,
    tile("Average score", decimals(round.score), "0 to 5"),
    tile("Coverage", percent(round.coverage), `${count(round.scored)} of ${count(round.probes)} judged`),
    tile("Cost", cost.told, [`${count(cost.calls)} calls`, h("br"), `${count(cost.tokens)} tokens`]));
}

function unscoredTable(round) {
  const reasons = Object.entries(round.cost.reasons).sort((a, b) => b[1] - a[1]);
  if (!reasons.length) return null;
  return h("div", { id: "unscored" }, h("h2", null, "Unscored, and why"), h("p", { class: "hint" }, "Counted in no rate."),
    h("table", { class: "plain" }, h("tbody", null, reasons.map(([reason, count]) => h("tr", null,
      h("th", { scope: "row" }, h("a", { href: galleryHref({ round: round.key, quadrant: "unscored", reason }) }, isolated(reason)), REASONS[reason] ? h("span", { class: "hint" }, ` ${REASONS[reason]}`) : ""),
      h("td", { class: "number" }, count.toLocaleString("en")))))));
}

function auditOverview(section, query) {
  const asked = query.get("round"), found = page.rounds.find((of) => of.key === asked), said = [];
  if (asked && !found) said.push(`round "${asked}"`);
  const usual = page.rounds[page.curve[0]], round = found ?? usual;
  const keep = (by, state) => {
    const now = new URLSearchParams();
    if (round !== usual) now.set("round", round.key);
    for (const [name, value] of [["by", by], ["sort", state.sort && (state.direction < 0 ? "-" : "") + state.sort], ["find", state.find], ["page", state.page > 1 ? state.page : ""]]) if (value) now.set(name, value);
    keepAddress(`#/?${now}`);
  };
  const parts = groupParts(round, query, keep), first = parts.find((part) => part.dataset.group.endsWith("class"));
  const rest = parts.filter((part) => part !== first);
  const jumps = rest.map((part) => h("button", { type: "button", class: "link", onclick: () => part.scrollIntoView() }, isolated(groupTitle({ column: part.dataset.group }))));
  section.replaceChildren(unknownNotice(said), finding() ?? "",
    page.rounds.length > 1 ? h("div", { class: "bar" }, choose("chosen-round", "Stage", page.rounds.map((of) => [of.key, of.stage]), round.key, (key) => navigate(`#/?round=${key}`, section))) : "",
    auditTiles(round), round.judged ? legend() : "",
    jumps.length ? h("p", { class: "hint jumps" }, "Further down: ", jumps.flatMap((jump, i) => [i ? " · " : "", jump])) : "",
    first ?? "",
    h("div", { class: "pair" },
      h("div", null, round.judged ? [h("h2", null, "Quadrants"), matrix(round)] : h("h2", null, "Scores without labels"), round.judged ? correctedRates(round) : h("p", { class: "hint" }, "Which predictions are right is not known: there are High and Low, and no quadrants.")),
      h("div", null, unscoredTable(round))),
    ...rest);
}
