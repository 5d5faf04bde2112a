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

const USUAL = { sort: "low", view: "masked", page: 1 };
const NAMED = ["round", "quadrant", "class", "group", "reason", "from", "change", "find", "sort", "view", "page", "pick"];

function galleryHref(filters) {
  const query = new URLSearchParams();
  for (const name of NAMED) if (has(filters[name]) && filters[name] !== "" && filters[name] !== USUAL[name]) query.set(name, filters[name]);
  return `#/gallery${query.size ? `?${query}` : ""}`;
}

function readFilters(query) {
  const filters = { round: query.get("round") ?? "", quadrant: query.get("quadrant") ?? "", class: query.get("class"),
    group: query.get("group") ?? "", reason: query.get("reason") ?? "", from: query.get("from") ?? "", change: query.get("change") ?? "", find: query.get("find") ?? "", pick: query.get("pick") ?? "",
    sort: query.get("sort") ?? "low", view: query.get("view") ?? "masked", page: Number(query.get("page")) || 1, said: [] };
  const drop = (name, usual, isKnown) => {
    if (!has(filters[name]) || filters[name] === usual || isKnown(filters[name])) return;
    filters.said.push(`${name} "${filters[name]}"`);
    filters[name] = usual;
  };
  const isRound = (key) => page.rounds.some((of) => of.key === key);
  drop("round", "", (key) => key === "all" || isRound(key));
  drop("from", "", isRound);
  drop("group", "", (key) => page.grouped.some((of) => of.groups.some((group) => groupKey(of, group.name) === key)));
  drop("quadrant", "", (id) => id === "unscored" || UNLABELLED.some((of) => of.id === id) || page.quadrants.some((q) => q.id === id));
  drop("change", "", (flow) => flow === "any" || flow.split("-").every((sign) => page.quadrants.some((q) => q.short === sign) || sign === UNSCORED.short));
  drop("class", null, (name) => gallery.classes.some(([own]) => own === name));
  drop("reason", "", (name) => gallery.reasons.some(([own]) => own === name));
  drop("sort", "low", (name) => has(SORTS[name]));
  drop("view", "masked", (name) => VIEWS.some(([kind]) => kind === name));
  if (filters.change && !filters.from) filters.change = "";
  filters.said.push(...readPicks(filters.pick.split(",").filter(Boolean)).map((name) => `sample "${name}"`));
  return filters;
}

// What a person would type to find a sample: its probe, its classes, or words of the judge.
function finder(wanted) {
  const s = page.samples, columns = page.textColumns.map((name) => s[name]);
  page.lower ??= page.texts.map((text) => text.toLowerCase());
  const hits = page.lower.map((text) => text.includes(wanted));
  return (i) => String(s.probe[i]) === wanted || columns.some((column) => hits[column[i]]);
}

// An audit keeps the pictures of some samples: these come first.
const isPictured = (i) => Boolean(gallery.pictured[i]);

// Numbers of the samples that pass the filters, sorted.
function matching(filters) {
  const s = page.samples;
  const last = page.rounds.findLastIndex((_, i) => page.curve.includes(i));
  const round = filters.round === "all" ? null : page.rounds.findIndex((of) => of.key === filters.round);
  const chosen = round === -1 ? last : round;
  const from = page.rounds.findIndex((of) => of.key === filters.from);
  const then = from >= 0 && has(chosen) && chosen >= 0 ? before(from, chosen) : null;
  const isFound = filters.find ? finder(filters.find.toLowerCase()) : null;
  const group = filters.group ? samplesOfGroup(filters.group, chosen ?? last) : null;
  const unlabelled = UNLABELLED.findIndex((of) => of.id === filters.quadrant);
  const quadrant = page.quadrants.findIndex((q) => q.id === filters.quadrant);
  const label = has(filters.class) ? page.texts.indexOf(filters.class) : null;
  const reason = filters.reason ? page.texts.indexOf(filters.reason) : null;
  const found = [];
  for (let i = 0; i < s.probe.length; i++) {
    if (chosen !== null && s.round[i] !== chosen) continue;
    if (filters.quadrant === "unscored" ? has(s.score[i]) : quadrant >= 0 && s.quadrant[i] !== quadrant) continue;
    if (unlabelled >= 0 && (has(s.quadrant[i]) || !has(s.score[i]) || Number(s.score[i] >= page.threshold) !== unlabelled)) continue;
    if (group && !group.has(i)) continue;
    if (label !== null && s.label[i] !== label) continue;
    if (reason !== null && s.reason[i] !== reason) continue;
    if (then && filters.change) {
      const flow = then.has(i) ? flowOf(outcomeAt(then.get(i)), outcomeAt(i)) : "";
      if (filters.change === "any" ? !flow || !isChange(flow) : flow !== filters.change) continue;
    }
    if (isFound && !isFound(i)) continue;
    found.push(i);
  }
  const [, get, direction] = SORTS[filters.sort];
  filters.then = then;
  const keys = new Float64Array(s.probe.length).fill(Infinity); // what has no value comes last
  for (const i of found) {
    const value = get(s, i);
    if (has(value)) keys[i] = direction * value;
  }
  const first = page.isAudit ? gallery.pictured : new Uint8Array(s.probe.length);
  return found.sort((a, b) => first[b] - first[a] || (keys[a] === keys[b] ? 0 : keys[a] - keys[b]) || s.probe[a] - s.probe[b] || s.round[a] - s.round[b]);
}

const unit = () => (page.isAudit ? "sample" : "probe");

function card(i, kind, namesRound, then = null) {
  const sample = sampleAt(page, i), round = page.rounds[sample.round];
  return h("li", null, h("a", { class: `card ${sample.of?.id ?? "unscored"}`, href: probeHref(sample.probe, round.key, sample.part), "data-sample": i },
    view(sample, kind),
    h("div", { class: "told" },
      h("div", { class: "row" }, h("span", null, has(then) ? [badge(outcomeAt(then)), " → "] : "", badge(sample.of), " ", scoreText(sample)), h("span", { class: "small" }, `${unit()} ${sample.probe}`)),
      h("div", { class: "class" }, isolated(has(sample.correct) ? sample.label : sample.label || sample.prediction), sample.correct === false ? [" → ", isolated(sample.prediction)] : ""),
      h("div", { class: "small" }, `${percent(sample.confidence)} sure`, has(sample.drift) ? ` · drift ${decimals(sample.drift)}` : ""),
      sample.partly ? h("div", { class: "small" }, sample.partly) : "",
      namesRound ? h("div", { class: "small" }, roundName(round)) : "",
      sample.file ? h("div", { class: "small file", title: seen(sample.file) }, isolated(seen(baseName(sample.file)))) : "",
      sample.evaluation ? h("p", { class: "words" }, sample.evaluation.slice(0, 300)) : "")), pickBox(i, `${unit()} ${sample.probe}, ${roundName(round)}`));
}

function countBy(column) {
  const counts = new Map();
  for (const number of column) counts.set(number, (counts.get(number) ?? 0) + 1);
  return [...counts].map(([number, count]) => [page.texts[number], count]).filter(([text]) => text !== "").sort((a, b) => a[0].localeCompare(b[0]));
}

function short(text) {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

const MANY_GROUPS = 200;

// A list of the groups that are no classes; where there are many, only the chosen one.
function groupChoice(filters, go) {
  const others = page.grouped.filter((of) => !isClass(of) && of.column !== "predicted class");
  const all = [...new Map(others.flatMap((of) => of.groups.map((group) => [groupKey(of, group.name), `${of.column}: ${short(group.name)}`])))];
  const shown = all.length > MANY_GROUPS ? all.filter(([key]) => key === filters.group) : all;
  if (filters.group && !shown.some(([key]) => key === filters.group)) shown.push([filters.group, short(filters.group)]);
  return shown.length ? choose("group", "Group", [["", "any"], ...shown], filters.group, (group) => go({ group })) : null;
}

function keptNotice(found) {
  const kept = found.reduce((sum, i) => sum + isPictured(i), 0), count = (n) => n.toLocaleString("en");
  return found.length === kept ? "" : h("p", { class: "hint", id: "kept" }, kept ? `The pictures of ${count(kept)} of these ${count(found.length)} samples were kept: they come first. ` : `No picture of these ${count(found.length)} samples was kept. `, "Of the others the file is named.");
}

const chosenSamples = { found: [], filters: {} };

function gallery(section, query) {
  const filters = readFilters(query);
  const found = matching(filters);
  Object.assign(chosenSamples, { found, filters });
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const at = Math.min(Math.max(1, filters.page), pages);
  if (at !== filters.page) filters.said.push(`page ${filters.page}`);
  const go = (change) => navigate(galleryHref({ ...filters, page: 1, ...change }), section);
  const newest = page.rounds[page.curve.at(-1)], hasOne = page.isAudit && page.rounds.length === 1;
  const bar = h("div", { class: "bar", role: "search" },
    hasOne ? null : choose("round", "Round", [["", newest ? `last: ${roundName(newest)}` : "none"], ["all", "all rounds"], ...page.rounds.map((of) => [of.key, roundName(of)])], filters.round, (round) => go({ round })),
    choose("quadrant", "Quadrant", [["", "any"], ...page.quadrants.map((q) => [q.id, `${q.short} ${q.name}`]), ...(gallery.isUnlabelled ? UNLABELLED.map((of) => [of.id, of.name]) : []), ["unscored", "unscored"]], filters.quadrant, (quadrant) => go({ quadrant, reason: "" })),
    page.isAudit && !gallery.classes.length ? null : choose("class", "True class", [["*", "any"], ...gallery.classes.map(([name, count]) => [`=${name}`, `${short(name)} (${count})`])], has(filters.class) ? `=${filters.class}` : "*",
      (name) => go({ class: name === "*" ? null : name.slice(1) })),
    choose("reason", "Unscored reason", [["", "any"], ...gallery.reasons.map(([name, count]) => [name, `${short(name)} (${count})`])], filters.reason, (reason) => go({ reason, quadrant: reason ? "unscored" : filters.quadrant })),
    groupChoice(filters, go),
    hasOne ? null : choose("from", "Since", [["", "any"], ...page.rounds.map((of) => [of.key, roundName(of)])], filters.from, (from) => go({ from, change: from ? filters.change || "any" : "" })),
    filters.then ? choose("change", "Change", [["", "any or none"], ["any", "any change"], ...[...countFlows(filters.then)].sort((a, b) => b[1] - a[1]).map(([flow, count]) => [flow, `${flowName(flow)} (${count})`])], filters.change, (change) => go({ change })) : null,
    choose("sort", "Sort", Object.entries(SORTS).filter(([key]) => key !== "drift" || !page.isAudit).map(([key, [name]]) => [key, name]), filters.sort, (sort) => go({ sort })),
    h("label", null, "Find", searchBox("find", `${unit()}, class or word`, filters.find, (find) => go({ find }))),
    h("span", { class: "segments", role: "group", "aria-label": "Show" }, VIEWS.map(([kind, name, long]) =>
      h("button", { type: "button", name: `view-${kind}`, title: long, "aria-pressed": String(kind === filters.view), onclick: () => go({ view: kind, page: at }) }, name))),
    h("span", { class: "count", role: "status" }, `${found.length.toLocaleString("en")} of ${page.samples.probe.length.toLocaleString("en")} samples`));
  const turn = (to) => {
    go({ page: to });
    window.scrollTo(0, 0);
  };
  section.replaceChildren(unknownNotice(filters.said), bar, exportBar(found), page.isAudit ? keptNotice(found) : "",
    found.length ? h("ul", { class: "cards" }, found.slice((at - 1) * PER_PAGE, at * PER_PAGE).map((i) => card(i, filters.view, filters.round === "all", filters.then?.get(i)))) : h("p", { class: "hint" }, "No sample passes these filters."),
    pages > 1 ? h("div", { class: "pager" },
      h("button", { type: "button", name: "previous", disabled: at === 1, onclick: () => turn(at - 1) }, "Previous"),
      h("span", null, `page ${at} of ${pages}`),
      h("button", { type: "button", name: "next", disabled: at === pages, onclick: () => turn(at + 1) }, "Next")) : "");
}
