// A probe over the rounds: how its attention moved, and what the judge said each time.

// Where a probe has several explanations, `part` says which; else it is null.
function probeHref(probe, key, part) {
  return `#/probe/${probe}?${new URLSearchParams(has(part) ? { round: key, part } : { round: key })}`;
}

// A test and a prediction explain other data, where the same index is another picture.
const DATA = { test: 1, predict: 2 };
const dataOf = (number) => DATA[page.rounds[number].stage] ?? 0;

function probeSamples(probe, wanted, part) {
  const found = [];
  page.samples.probe.forEach((own, i) => own === probe && dataOf(page.samples.round[i]) === wanted && found.push(i));
  const own = found.filter((i) => String(page.samples.part[i]) === part);
  return own.length ? own : found.filter((i) => page.samples.part[i] === page.samples.part[found[0]]);
}

function fact(name, value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

// Words of the predicted caption: the sign by colour and by the line below, the strength by shade.
function carriers(sample) {
  if (!sample.carry?.length) return null;
  const most = Math.max(...sample.carry.map(([, value]) => Math.abs(value)));
  return [h("h3", { id: "carry-title" }, "Which words carry the similarity"),
    h("ul", { class: "carry", id: "carry", "aria-labelledby": "carry-title" }, sample.carry.map(([text, value]) => {
      const told = value ? (value < 0 ? "−" : "+") + Math.abs(value).toPrecision(2) : "0";
      const word = h("li", { class: value < 0 ? "takes" : value > 0 ? "adds" : null, title: told }, isolated(page.texts[text]), h("span", { class: "unseen" }, ` ${told}`));
      word.style.setProperty("--strength", String(most ? Math.abs(value) / most : 0));
      return word;
    })),
    h("p", { class: "hint" }, h("span", { class: "adds" }, "adds"), " to the cosine, ", h("span", { class: "takes" }, "takes"), ` from it; the strongest word by ${most.toPrecision(2)}.`)];
}

// What the judge saw in the attended region, in its words.
function attended(sample) {
  if (!sample.seen?.length) return null;
  const where = (isPart) => (isPart === null ? "" : isPart ? " (of the object)" : " (off the object)");
  return [h("h3", { id: "seen-title" }, "What is attended to"), h("ul", { id: "seen", "aria-labelledby": "seen-title" },
    sample.seen.map(([text, isPart]) => h("li", null, isolated(page.texts[text]), where(isPart))))];
}

function verdict(sample) {
  const cost = [sample.calls ? `${sample.calls} call${sample.calls > 1 ? "s" : ""}` : null, sample.tokens ? `${sample.tokens.toLocaleString("en")} tokens` : null,
    sample.cost ? `$${sample.cost.toFixed(4)}` : null, sample.latency && sample.calls ? `${sample.latency.toFixed(1)} s` : null,
    sample.cached ? "cached" : null, sample.reused ? "reused" : null].filter(Boolean).join(" · ");
  return h("div", { class: "verdict" },
    h("div", { class: "row" }, h("span", { class: "value" }, has(sample.score) ? showScore(sample.score, sample.threshold) : "unscored"),
      h("span", null, badge(sample.of), " ", (sample.of ?? UNSCORED).name)),
    sample.borderline ? h("p", null, h("span", { class: "close" }, "borderline"), `: ${spreadTold(sample)}`) : null,
    sample.partly ? h("p", null, sample.partly) : null,
    h("dl", { class: "facts" }, sample.label || !page.isAudit ? fact("True class", isolated(sample.label)) : null, fact("Prediction", isolated(sample.prediction)),
      fact("Confidence", percent(sample.confidence)), page.isAudit ? null : fact("Drift", decimals(sample.drift)),
      fileFact(sample),
      has(sample.late) ? fact("Late score", `${showScore(sample.late, sample.threshold)}, in no figure`) : null,
      cost ? fact("Cost", cost) : null),
    carriers(sample),
    sample.reason ? [h("h3", null, "Why there is no score"), h("p", { class: "words" }, sample.reason), sample.detail ? words(sample.detail) : null] : null,
    attended(sample),
    h("h3", null, "Evaluation"), words(sample.evaluation),
    h("h3", null, "Justification"), words(sample.justification),
    askedDetails(sample));
}

// What is told of a sample, beside its class.
function groupFacts(i) {
  const round = page.samples.round[i], at = samplesByRound()[round].indexOf(i);
  const told = page.grouped.filter((of) => of.round === round && !of.column.endsWith("class") && has(of.names[at]));
  return told.length ? h("dl", { class: "facts", id: "groups-of" }, told.map((of) => fact(of.column === "confidence" ? "Bin of confidence" : of.column, h("a", { href: groupHref(of, of.groups[of.names[at]]) }, isolated(of.groups[of.names[at]].name))))) : "";
}

function strip(samples, chosen) {
  return h("ol", { class: "strip", id: "strip", "aria-label": "Rounds" }, samples.map((i) => {
    const sample = sampleAt(page, i), round = page.rounds[sample.round];
    return h("li", null, h("a", { class: sample.of?.id ?? "unscored", href: probeHref(sample.probe, round.key, sample.part), "aria-current": i === chosen ? "true" : null,
      onclick: (event) => {
        event.preventDefault();
        show(sample.probe, round.key, sample.part);
      } },
      view(sample, "masked"), view(sample, "heat"),
      h("div", { class: "told" }, h("div", { class: "row" }, badge(sample.of), scoreText(sample)),
        h("div", { class: "small" }, roundName(round)), sample.correct === false ? h("div", { class: "small" }, isolated(short(sample.prediction))) : "")));
  }));
}

function scoreChart(over, number) {
  const rounds = over.map((of) => page.rounds[of.round]);
  const isOneStage = rounds.every((of) => of.stage === rounds[0].stage);
  return lineChart({ title: "Score", note: "0 to 5; a gap where it was not judged", top: 5, height: 130, tell: (score) => showScore(score, page.threshold),
    xs: rounds.map((of, i) => (isOneStage ? of.number : i)), names: rounds.map(roundLong),
    series: [{ name: "", long: "Score", cls: "figure", shape: 0, values: over.map((of) => of.score) }],
    picked: () => walk.chosen, onpick: (i) => show(number, rounds[i].key, over[i].part) });
}

function driftChart(over) {
  if (!over.some((of) => has(of.drift))) return null;
  const rounds = over.map((of) => page.rounds[of.round]);
  const isOneStage = rounds.every((of) => of.stage === rounds[0].stage);
  return lineChart({ title: "Drift", note: "1 − IoU of the mask with the probe's last one", top: 1, height: 130,
    xs: rounds.map((of, i) => (isOneStage ? of.number : i)), names: rounds.map(roundLong),
    series: [{ name: "", long: "Drift", cls: "figure", shape: 0, values: over.map((of) => of.drift) }],
    picked: () => walk.chosen, onpick: (i) => show(over[i].probe, rounds[i].key, over[i].part) });
}

function show(probe, key, part) {
  history.replaceState(null, "", probeHref(probe, key, part));
  route();
}

const walk = { samples: [], chosen: 0, probes: [] };

function probe(section, number, query) {
  const key = query.get("round");
  const asked = page.rounds.findIndex((of) => of.key === key);
  const wanted = asked >= 0 ? dataOf(asked) : page.samples.probe.reduce((least, own, i) => (own === number ? Math.min(least, dataOf(page.samples.round[i])) : least), 2);
  const samples = probeSamples(number, wanted, query.get("part"));
  if (!samples.length) {
    section.replaceChildren(h("h2", { tabindex: "-1" }, `There is no ${unit()} ${number} in this run`), h("a", { href: "#/gallery" }, "Back to the gallery"));
    return;
  }
  const chosen = samples.find((i) => page.samples.round[i] === asked) ?? samples.at(-1);
  const sample = sampleAt(page, chosen), round = page.rounds[sample.round];
  // Up and down go through the gallery's probes, in its order, or through all of them.
  const listed = [...new Set(chosenSamples.found.map((i) => page.samples.probe[i]))];
  const probes = listed.includes(number) ? listed : [...new Set(page.samples.probe.filter((_, i) => dataOf(page.samples.round[i]) === wanted))].sort((a, b) => a - b);
  Object.assign(walk, { samples, chosen: samples.indexOf(chosen), probes });
  const over = samples.map((i) => sampleAt(page, i));
  const said = [key && round.key !== key ? `round "${key}"` : null, query.get("part") && String(sample.part) !== query.get("part") ? `part "${query.get("part")}"` : null].filter(Boolean);
  const isKept = !page.isAudit || isPictured(chosen);
  const views = !isKept ? h("p", { class: "hint", id: "unkept" }, "The picture of this sample was not kept", sample.file ? [": its file is ", h("code", null, isolated(seen(sample.file)))] : "", ".") : h("div", { class: "views" }, ["whole", "heat", "masked"].map((kind) =>
    h("figure", null, outlined(view(sample, kind), sample), h("figcaption", null, VIEWS.find(([k]) => k === kind)[2]))));
  section.replaceChildren(unknownNotice(said),
    h("div", { class: "bar" },
      h("a", { class: "button", href: galleryHref(chosenSamples.filters), id: "back" }, "← Gallery"),
      h("button", { type: "button", name: "previous-probe", "aria-label": `Previous ${unit()}`, onclick: () => step("probe", -1) }, "↑"),
      h("button", { type: "button", name: "next-probe", "aria-label": `Next ${unit()}`, onclick: () => step("probe", 1) }, "↓"),
      h("span", { class: "keys" }, page.isAudit ? "" : [h("kbd", null, "←"), " ", h("kbd", null, "→"), " round  "], h("kbd", null, "↑"), " ", h("kbd", null, "↓"), ` ${unit()}  `, h("kbd", null, "Esc"), " back")),
    h("h2", { tabindex: "-1" }, `${page.isAudit ? "Sample" : "Probe"} ${number} · `, isolated(sample.label || sample.prediction), h("span", { class: "hint" }, ` · ${page.isAudit ? round.stage : roundLong(round)}`)),
    h("div", { class: "probe" },
      h("div", null,
        views, isKept ? outlineToggle(sample, views) : "",
        page.isAudit ? groupFacts(chosen) : [scoreChart(over, number), driftChart(over)]),
      verdict(sample)),
    ...(page.isAudit ? [] : [h("h2", null, "Over the rounds"), strip(samples, chosen)]));
  if (page.isAudit) return;
  const strips = $("#strip", section), current = $("[aria-current]", strips);
  strips.scrollLeft = current.parentElement.offsetLeft - strips.offsetLeft - strips.clientWidth / 2 + 56;
}

function step(what, by) {
  if (what === "round") {
    const next = walk.samples[walk.chosen + by];
    if (has(next)) show(page.samples.probe[next], page.rounds[page.samples.round[next]].key, page.samples.part[next]);
    return;
  }
  const own = page.samples.probe[walk.samples[walk.chosen]];
  const next = walk.probes[walk.probes.indexOf(own) + by];
  if (has(next)) show(next, page.rounds[page.samples.round[walk.samples[walk.chosen]]].key);
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !location.hash.startsWith("#/probe/")) return;
  if (event.target.closest("select, input, textarea, .chart")) return;
  const move = { ArrowLeft: ["round", -1], ArrowRight: ["round", 1], ArrowUp: ["probe", -1], ArrowDown: ["probe", 1] }[event.key];
  if (move) step(...move);
  else if (event.key === "Escape") location.hash = galleryHref(chosenSamples.filters);
  else return;
  event.preventDefault();
});
