// Rates of groups of samples: by class, by confidence, by what is told of the samples.

const GROUPS_SHOWN = 15;
const GROUP_COLUMNS = [
  ["Group", (g) => g.name, 1], ["Samples", (g) => g.samples, -1], ["Judged", (g) => judgedOf(g), -1],
  ["Low", (g) => g.rate, -1], ["p", (g) => g.p, 1], ["CL", (g) => shareOf(g, 1), -1], ["CH", (g) => shareOf(g, 0), -1], ["WH", (g) => shareOf(g, 2), -1],
  ["WL", (g) => shareOf(g, 3), -1], ["Accuracy", (g) => g.accuracy, -1], ["Score", (g) => g.score, -1],
];
const hasLabels = (group) => group.counts.some((n) => n);
const judgedOf = (group) => (hasLabels(group) ? group.counts.reduce((a, b) => a + b, 0) : group.total);
const shareOf = (group, k) => (hasLabels(group) ? group.counts[k] / judgedOf(group) : null);
const isClass = (of) => of.column === "class";
const groupKey = (of, name) => `${of.column}=${name}`;
const pText = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));

function groupHref(of, group) {
  const round = page.rounds[of.round].key;
  return galleryHref(isClass(of) ? { round, class: group.name } : { round, group: groupKey(of, group.name) });
}

// To as many digits as tell the ends of an interval apart.
const placesOf = (interval) => (interval && interval[1] - interval[0] <= 0.02 ? 3 : 2);
const endsOf = (interval, places = placesOf(interval)) => (interval ? interval.map((end) => decimals(end, places)).join("–") : "");

// Numbers of the samples of a group, by what an address calls it; null where the page has no such.
function samplesOfGroup(key, round) {
  for (const of of page.grouped) {
    if (of.round !== round || !key.startsWith(`${of.column}=`)) continue;
    const at = of.groups.findIndex((group) => groupKey(of, group.name) === key);
    if (at >= 0) return new Set(samplesByRound()[of.round].filter((_, i) => of.names[i] === at));
  }
  return null;
}

// A rate with its interval on a line from 0 to `top`; the upright is the rate of all.
function rangeOf(group, top, all) {
  const width = 130, height = 16, x = (rate) => 3 + (rate / top) * (width - 6);
  if (!group.interval) return "";
  return svg("svg", { class: `range correct_low${group.worse ? " worse" : ""}`, width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("line", { class: "grid", x1: x(all), x2: x(all), y1: 0, y2: height }),
    svg("line", { class: "line", x1: x(group.interval[0]), x2: x(group.interval[1]), y1: 8, y2: 8 }),
    svg("circle", { class: "dot", cx: x(group.rate), cy: 8, r: 3 }));
}

function groupRow(of, group, { top, all, isLabelled, places }) {
  const name = isolated(group.name || "(no name)");
  return h("tr", { class: group.worse ? "worse" : null },
    h("th", { scope: "row" }, h("a", { href: groupHref(of, group) }, group.worse ? h("strong", null, name) : name)),
    h("td", { class: "number", "data-name": "Samples" }, group.samples.toLocaleString("en")),
    h("td", { class: "number", "data-name": "Judged" }, judgedOf(group).toLocaleString("en")),
    h("td", { class: "number", "data-name": isLabelled ? "Low of right" : "Low" }, decimals(group.rate, places), " ", h("span", { class: "ends" }, endsOf(group.interval, places))),
    h("td", { class: "ranges" }, rangeOf(group, top, all)),
    h("td", { class: group.worse ? "number sure" : "number", "data-name": "p" }, group.total ? pText(group.p) : "–"),
    isLabelled ? [1, 0, 2, 3].map((k) => h("td", { class: "number", "data-name": page.quadrants[k].short }, decimals(shareOf(group, k)))) : null,
    isLabelled ? h("td", { class: "number", "data-name": "Accuracy" }, decimals(group.accuracy)) : null,
    h("td", { class: "number", "data-name": "Score" }, decimals(group.score)));
}

// `state`: which column is sorted, which page is shown, what is looked for; `keep` is told of each change.
function groupTable(of, state, keep) {
  const holder = h("div", { class: "groups" });
  const top = of.groups.reduce((most, g) => Math.max(most, g.interval?.[1] ?? 0), 0.05);
  const low = of.groups.reduce((sum, g) => sum + g.low, 0), total = of.groups.reduce((sum, g) => sum + g.total, 0);
  const isLabelled = of.groups.some(hasLabels);
  const places = of.groups.filter((g) => placesOf(g.interval) === 3).length * 2 >= of.groups.length ? 3 : 2;
  const how = { top, all: total ? low / total : 0, isLabelled, places };
  const columns = GROUP_COLUMNS.filter(([name]) => isLabelled || !["CL", "CH", "WH", "WL", "Accuracy"].includes(name));
  const head = (column) => {
    const [name, , direction] = column, is = state.sort === name;
    const q = isLabelled ? page.quadrants.find((one) => one.short === name) : null;
    const text = name === "Low" && isLabelled ? "Low of right" : name === "Group" ? (of.column.endsWith("class") ? "Class" : "Group") : name;
    return h("th", { "aria-sort": is ? (state.direction > 0 ? "ascending" : "descending") : null, title: name === "p" ? `Fisher's exact test against the others, corrected for ${of.held} groups` : null },
      h("button", { type: "button", "data-column": name, onclick: () => {
        state.direction = is ? -state.direction : direction;
        state.sort = name;
        state.page = 1;
        redraw();
      } }, q ? badge(q) : text, is ? (state.direction > 0 ? " ↑" : " ↓") : ""));
  };
  const redraw = () => {
    const focused = document.activeElement?.dataset?.column;
    const wanted = state.find.toLowerCase();
    const rows = of.groups.filter((group) => group.name.toLowerCase().includes(wanted));
    const sorted = GROUP_COLUMNS.find(([name]) => name === state.sort);
    if (sorted) rows.sort(compareBy(sorted[1], state.direction));
    const pages = Math.max(1, Math.ceil(rows.length / GROUPS_SHOWN));
    state.page = Math.min(Math.max(1, state.page), pages);
    const turn = (to) => {
      state.page = to;
      redraw();
    };
    holder.replaceChildren(
      h("div", { class: "scroll" }, h("table", { class: "plain stacked classes" },
        h("thead", null, h("tr", null, columns.flatMap((column) => (column[0] === "Low" ? [head(column), h("td", { class: "ranges" })] : [head(column)])))),
        h("tbody", null, rows.slice((state.page - 1) * GROUPS_SHOWN, state.page * GROUPS_SHOWN).map((group) => groupRow(of, group, how))))),
      rows.length ? "" : h("p", { class: "hint" }, "None has this in its name."),
      pages > 1 ? h("div", { class: "pager" },
        h("button", { type: "button", "data-column": "previous", disabled: state.page === 1, onclick: () => turn(state.page - 1) }, "Previous"),
        h("span", null, `page ${state.page} of ${pages}, ${rows.length.toLocaleString("en")} in all`),
        h("button", { type: "button", "data-column": "next", disabled: state.page === pages, onclick: () => turn(state.page + 1) }, "Next")) : "");
    if (focused) $(`[data-column="${focused}"]`, holder)?.focus();
    keep();
  };
  const search = of.groups.length > GROUPS_SHOWN ? h("div", { class: "bar" }, searchBox(`find ${of.column}`, isClass(of) ? "Find a class" : "Find a group", state.find, (find) => {
    state.find = find;
    state.page = 1;
    redraw();
  })) : "";
  redraw();
  return h("div", null, search, holder);
}

function groupHint(of) {
  const worse = of.groups.filter((group) => group.worse).length;
  const count = of.groups.length.toLocaleString("en");
  const order = of.column === "confidence" ? "Bins of equal counts, by confidence." : "Those that stand out first, then by the lower end of the interval.";
  return h("p", { class: "hint" }, worse ? h("strong", null, `${worse} of ${count} worse than the rest beyond chance. `) : `None of ${count} is worse than the rest beyond chance. `,
    of.groups.some(hasLabels) ? "Low of right: of the right answers, how many are for the wrong reason. " : "", order,
    ` p: Fisher's exact test against the others, corrected for ${of.held.toLocaleString("en")} group${of.held === 1 ? "" : "s"}.`,
    of.outside ? ` ${of.outside.toLocaleString("en")} samples are in none.` : "");
}

const groupTitle = (of) => (isClass(of) ? "True classes, worst first" : of.column === "predicted class" ? "Predicted classes, worst first" : of.column === "confidence" ? "By confidence" : `By ${of.column}`);

// A part of the page for each column of a round; `query` says how the table last touched is shown.
function groupParts(round, query, keep) {
  return page.grouped.filter((of) => page.rounds[of.round] === round).map((of) => {
    const is = query.get("by") === of.column;
    const state = { sort: (is && query.get("sort")?.replace(/^-/, "")) || "", direction: is && query.get("sort")?.startsWith("-") ? -1 : 1,
      page: (is && Number(query.get("page"))) || 1, find: (is && query.get("find")) || "" };
    const part = h("div", { class: "group-part", "data-group": of.column }, h("h2", null, isolated(groupTitle(of))), groupHint(of));
    let isDrawn = false;
    part.append(groupTable(of, state, () => isDrawn && keep(of.column, state)));
    isDrawn = true;
    return part;
  });
}
