// Filters, sorting and a page of cards. The address holds all of it, so that it can be shared.

const PER_PAGE = 60;
const SORTS = {
  low: ["lowest score first", (s, i) => s.score[i], 1],
  high: ["highest score first", (s, i) => s.score[i], -1],
  sure: ["highest confidence first", (s, i) => s.confidence[i], -1],
  unsure: ["lowest confidence first", (s, i) => s.confidence[i], 1],
  drift: ["largest drift first", (s, i) => s.drift[i], -1],
  probe: ["by probe", (s, i) => s.probe[i], 1],
};

function galleryHref(filters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) if (value !== "" && has(value)) query.set(name, value);
  return `#/gallery${query.size ? `?${query}` : ""}`;
}

function readFilters(query) {
  const filters = { round: query.get("round") ?? "", quadrant: query.get("quadrant") ?? "", class: query.get("class"),
    reason: query.get("reason") ?? "", sort: query.get("sort") ?? "low", view: query.get("view") ?? "masked", page: Number(query.get("page")) || 1 };
  if (!SORTS[filters.sort]) filters.sort = "low";
  if (!VIEWS.some(([kind]) => kind === filters.view)) filters.view = "masked";
  return filters;
}

// Numbers of the samples that pass the filters, sorted.
function matching(filters) {
  const s = page.samples;
  const last = page.rounds.findLastIndex((_, i) => page.curve.includes(i));
  const round = filters.round === "all" ? null : page.rounds.findIndex((of) => of.key === filters.round);
  const chosen = round === -1 ? last : round;
  const quadrant = page.quadrants.findIndex((q) => q.id === filters.quadrant);
  const label = has(filters.class) ? page.texts.indexOf(filters.class) : null;
  const reason = filters.reason ? page.texts.indexOf(filters.reason) : null;
  const found = [];
  for (let i = 0; i < s.probe.length; i++) {
    if (chosen !== null && s.round[i] !== chosen) continue;
    if (filters.quadrant === "unscored" ? has(s.score[i]) : quadrant >= 0 && s.quadrant[i] !== quadrant) continue;
    if (label !== null && s.label[i] !== label) continue;
    if (reason !== null && s.reason[i] !== reason) continue;
    found.push(i);
  }
  const [, get, direction] = SORTS[filters.sort];
  const order = compareBy((i) => get(s, i), direction);
  return found.sort((a, b) => order(a, b) || s.probe[a] - s.probe[b] || s.round[a] - s.round[b]);
}

function card(i, kind, namesRound) {
  const sample = sampleAt(page, i), round = page.rounds[sample.round];
  return h("li", null, h("a", { class: `card ${sample.of?.id ?? "unscored"}`, href: probeHref(sample.probe, round.key, sample.part), "data-sample": i },
    view(sample, kind),
    h("div", { class: "told" },
      h("div", { class: "row" }, h("span", null, badge(sample.of), " ", scoreText(sample)), h("span", { class: "small" }, `probe ${sample.probe}`)),
      h("div", { class: "class" }, isolated(sample.label), sample.correct === false ? [" → ", isolated(sample.prediction)] : ""),
      h("div", { class: "small" }, `${percent(sample.confidence)} sure`, has(sample.drift) ? ` · drift ${decimals(sample.drift)}` : ""),
      namesRound ? h("div", { class: "small" }, roundName(round)) : "",
      sample.file ? h("div", { class: "small file", title: seen(sample.file) }, isolated(seen(baseName(sample.file)))) : "",
      sample.evaluation ? h("p", { class: "words" }, sample.evaluation.slice(0, 300)) : "")), pickBox(i, `probe ${sample.probe}, ${roundName(round)}`));
}

function scoreText(sample) {
  if (has(sample.score)) return h("span", { class: "score" }, decimals(sample.score, 1));
  return h("span", { class: "small" }, has(sample.late) ? `late ${decimals(sample.late, 1)}` : sample.reason || "unscored");
}

function countBy(column) {
  const counts = new Map();
  for (const number of column) counts.set(number, (counts.get(number) ?? 0) + 1);
  return [...counts].map(([number, count]) => [page.texts[number], count]).filter(([text]) => text !== "").sort((a, b) => a[0].localeCompare(b[0]));
}

function short(text) {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

const chosenSamples = { found: [], filters: readFilters(new URLSearchParams()) };

function gallery(section, query) {
  const filters = readFilters(query);
  const found = matching(filters);
  Object.assign(chosenSamples, { found, filters });
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const at = Math.min(Math.max(1, filters.page), pages);
  const go = (change) => {
    const focused = document.activeElement?.getAttribute("name");
    history.replaceState(null, "", galleryHref({ ...filters, page: 1, ...change }));
    route();
    if (focused) $(`[name="${focused}"]`, section)?.focus();
  };
  const newest = page.rounds[page.curve.at(-1)];
  const bar = h("div", { class: "bar", role: "search" },
    choose("round", "Round", [["", newest ? `last: ${roundName(newest)}` : "none"], ["all", "all rounds"], ...page.rounds.map((of) => [of.key, roundName(of)])], filters.round, (round) => go({ round })),
    choose("quadrant", "Quadrant", [["", "any"], ...page.quadrants.map((q) => [q.id, `${q.short} ${q.name}`]), ["unscored", "unscored"]], filters.quadrant, (quadrant) => go({ quadrant, reason: "" })),
    choose("class", "True class", [["*", "any"], ...gallery.classes.map(([name, count]) => [`=${name}`, `${short(name)} (${count})`])], has(filters.class) ? `=${filters.class}` : "*",
      (name) => go({ class: name === "*" ? null : name.slice(1) })),
    choose("reason", "Unscored reason", [["", "any"], ...gallery.reasons.map(([name, count]) => [name, `${short(name)} (${count})`])], filters.reason, (reason) => go({ reason, quadrant: reason ? "unscored" : filters.quadrant })),
    choose("sort", "Sort", Object.entries(SORTS).map(([key, [name]]) => [key, name]), filters.sort, (sort) => go({ sort })),
    h("span", { class: "segments", role: "group", "aria-label": "Show" }, VIEWS.map(([kind, name, long]) =>
      h("button", { type: "button", name: `view-${kind}`, title: long, "aria-pressed": String(kind === filters.view), onclick: () => go({ view: kind, page: at }) }, name))),
    h("span", { class: "count", role: "status" }, `${found.length.toLocaleString("en")} of ${page.samples.probe.length.toLocaleString("en")} samples`));
  const turn = (to) => {
    go({ page: to });
    window.scrollTo(0, 0);
  };
  section.replaceChildren(bar, exportBar(found),
    found.length ? h("ul", { class: "cards" }, found.slice((at - 1) * PER_PAGE, at * PER_PAGE).map((i) => card(i, filters.view, filters.round === "all"))) : h("p", { class: "hint" }, "No sample passes these filters."),
    pages > 1 ? h("div", { class: "pager" },
      h("button", { type: "button", name: "previous", disabled: at === 1, onclick: () => turn(at - 1) }, "Previous"),
      h("span", null, `page ${at} of ${pages}`),
      h("button", { type: "button", name: "next", disabled: at === pages, onclick: () => turn(at + 1) }, "Next")) : "");
}
