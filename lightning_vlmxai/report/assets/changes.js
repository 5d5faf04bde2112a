// Which probes changed their quadrant between two rounds.

const flowOf = (from, to) => `${from?.short ?? "–"}-${to?.short ?? "–"}`;
const ALL = () => [...page.quadrants, UNSCORED];
const bySign = (sign) => ALL().find((of) => of.short === sign);
const outcomeAt = (i) => (has(page.samples.quadrant[i]) ? page.quadrants[page.samples.quadrant[i]] : UNSCORED);
const placeOf = (i) => `${page.samples.probe[i]}/${page.samples.part[i] ?? ""}`;

// From a sample of round `to` to the same probe's in round `from`; both are numbers of rounds.
function before(from, to) {
  const known = new Map();
  const alike = dataOf(from) === dataOf(to) && page.rounds[from].fingerprint === page.rounds[to].fingerprint;
  if (!alike) return known;
  const places = new Map(samplesByRound()[from].map((i) => [placeOf(i), i]));
  for (const i of samplesByRound()[to]) if (places.has(placeOf(i))) known.set(i, places.get(placeOf(i)));
  return known;
}

function countFlows(then) {
  const flows = new Map();
  for (const [i, j] of then) {
    const flow = flowOf(outcomeAt(j), outcomeAt(i));
    flows.set(flow, (flows.get(flow) ?? 0) + 1);
  }
  return flows;
}

const isChange = (flow) => flow.split("-")[0] !== flow.split("-")[1];
// What became right for the wrong reason comes first, then what was.
const weigh = (flow) => (flow.endsWith("-CL") ? 0 : flow.startsWith("CL-") ? 1 : 2);
const flowName = (flow) => flow.split("-").join(" → ");

function flowTable(flows, from, to) {
  const signs = ALL().filter((of) => [...flows.keys()].some((flow) => flow.split("-").includes(of.short)));
  const cellOf = (row, column) => {
    const flow = flowOf(row, column), count = flows.get(flow) ?? 0;
    if (!count) return h("td", { class: "number none" }, "·");
    return h("td", { class: row === column ? "number same" : "number" },
      h("a", { href: galleryHref({ round: to.key, from: from.key, change: flow }), "aria-label": `${count} from ${row.name} to ${column.name}` }, String(count)));
  };
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "From quadrant to quadrant" },
    h("table", { class: "plain flow", id: "flow" },
      h("thead", null, h("tr", null, h("th", null, `${roundName(from)} ↓ · ${roundName(to)} →`), signs.map((of) => h("th", null, badge(of), h("span", { class: "long" }, ` ${of.name}`))))),
      h("tbody", null, signs.map((row) => h("tr", null, h("th", { scope: "row" }, badge(row), h("span", { class: "long" }, ` ${row.name}`)), signs.map((column) => cellOf(row, column)))))));
}

function classesIn(flow, then) {
  const counts = new Map();
  for (const [i, j] of then) if (flowOf(outcomeAt(j), outcomeAt(i)) === flow) {
    const name = page.texts[page.samples.label[i]];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, count]) => `${short(name)} ${count}`).join(", ");
}

function changes(section, query) {
  const judged = page.curve.map((i) => page.rounds[i]).filter((round) => round.judged && round.coverage);
  const said = [];
  const find = (name, usual) => {
    const key = query.get(name), found = page.rounds.find((round) => round.key === key);
    if (key && !found) said.push(`round "${key}"`);
    return found ?? usual;
  };
  const from = find("from", judged[0]), to = find("to", judged.at(-1));
  if (!from || !to || page.rounds.length < 2) {
    section.replaceChildren(h("h2", null, "What changed"), h("p", { class: "hint" }, "Two rounds are needed to see what changed between them: validate at least twice, or look again after the next round."));
    return;
  }
  const go = (change) => navigate(`#/changes?${new URLSearchParams({ from: from.key, to: to.key, ...change })}`, section);
  const names = page.rounds.map((round) => [round.key, roundLong(round)]);
  const then = before(page.rounds.indexOf(from), page.rounds.indexOf(to)), flows = countFlows(then);
  const moved = [...flows].filter(([flow]) => isChange(flow)).sort((a, b) => weigh(a[0]) - weigh(b[0]) || b[1] - a[1]);
  const total = moved.reduce((sum, [, count]) => sum + count, 0);
  const flowAt = (i) => flowOf(outcomeAt(then.get(i)), outcomeAt(i));
  const found = [...then.keys()].filter((i) => isChange(flowAt(i))).sort((a, b) => weigh(flowAt(a)) - weigh(flowAt(b)));
  section.replaceChildren(h("h2", null, "What changed"),
    unknownNotice(said),
    h("div", { class: "bar" }, choose("from", "From", names, from.key, (key) => go({ from: key })), choose("to", "To", names, to.key, (key) => go({ to: key }))),
    then.size ? "" : h("p", { class: "notices" }, "These two rounds are of different probes, or one has no samples in this folder: nothing can be held against each other."),
    h("p", { id: "moved" }, `${total} of ${then.size} probes are in another quadrant.`, " ",
      h("span", { class: "hint" }, moved.slice(0, 4).map(([flow, count]) => `${flowName(flow)}: ${count} (${classesIn(flow, then)})`).join(" · "))),
    then.size ? flowTable(flows, from, to) : "",
    found.length ? h("h3", null, "The probes that changed ", h("a", { class: "hint", href: galleryHref({ round: to.key, from: from.key, change: "any" }) }, "filter them in the gallery")) : "",
    h("ul", { class: "cards" }, found.slice(0, PER_PAGE).map((i) => card(i, "masked", false, then.get(i)))));
}
