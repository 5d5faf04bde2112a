// Suspicious labels: a person looks at them in order and says of each whether the label is wrong.
// Kept in the browser, taken away as a file.

const MARKS = [
  { id: "wrong", name: "Wrong", key: "W", means: "the label is wrong" },
  { id: "right", name: "Right", key: "R", means: "the label is right" },
  { id: "unsure", name: "Unsure", key: "S", means: "I can't tell" },
];
const SHOWN = [["all", "All"], ["unmarked", "Not marked"], ...MARKS.map((of) => [of.id, of.name])];
const BY_SCORE = "score";

const review = { sort: "", show: "all", at: null, log: [], keeps: true };

const labelsKey = () => `vlmxai-labels-${page.digest}`;
const markOf = (name) => review.log.findLast((of) => of.sample === name)?.mark ?? "";
const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const probability = (value) => (value >= 0.0005 || value === 0 ? value.toFixed(3) : value.toExponential(0));

function readMarks() {
  let kept = null;
  review.keeps = true;
  try {
    kept = JSON.parse(localStorage.getItem(labelsKey()));
  } catch {
    review.keeps = false;
  }
  const isMark = (of) => of && typeof of.sample === "string" && MARKS.some((mark) => mark.id === of.mark);
  review.log = Array.isArray(kept) ? kept.filter(isMark) : [];
}

function keepMarks() {
  try {
    localStorage.setItem(labelsKey(), JSON.stringify(review.log));
  } catch {
    review.keeps = false;
  }
}

function inOrder() {
  const by = review.sort === BY_SCORE ? (of) => (has(of.score) ? -of.score : 1) : (of) => of.ranks[review.sort];
  return page.suspects.map((of) => [by(of), of]).sort(([a], [b]) => a - b).map(([, of]) => of);
}

// What is listed; the one that is looked at stays in, though its mark has changed.
function listed() {
  return inOrder().filter((of) => {
    const mark = markOf(of.name);
    return review.show === "all" || (review.show === "unmarked" ? !mark : mark === review.show);
  });
}

const hrefOf = (name) => `#/${name}?${new URLSearchParams({ sort: review.sort, show: review.show })}`;

function readHash() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const asked = new URLSearchParams(query ?? ""), sorts = [...page.methods.map((of) => of.id), BY_SCORE];
  review.sort = sorts.includes(asked.get("sort")) ? asked.get("sort") : page.method;
  review.show = SHOWN.some(([id]) => id === asked.get("show")) ? asked.get("show") : "all";
  review.at = page.suspects.find((of) => of.name === path) ?? null;
  return path && !review.at ? [`a sample "${path}"`] : [];
}

function openSuspect(of, said = "") {
  review.at = of;
  history.replaceState(null, "", hrefOf(of ? of.name : ""));
  drawReview(said);
}

function move(step) {
  const list = listed(), at = list.indexOf(review.at);
  const to = at < 0 ? list[0] : list[at + step];
  if (to) openSuspect(to);
}

function give(mark) {
  const of = review.at;
  if (!of) return;
  const list = inOrder(), at = list.indexOf(of);
  review.log.push({ sample: of.name, mark });
  keepMarks();
  const next = [...list.slice(at + 1), ...list.slice(0, at)].find((other) => !markOf(other.name));
  openSuspect(next ?? null, `Marked ${mark}. `);
}

function undo() {
  const known = new Set(page.suspects.map((of) => of.name));
  const last = review.log.findLastIndex((of) => known.has(of.sample));
  if (last < 0) return;
  const [gone] = review.log.splice(last, 1);
  keepMarks();
  openSuspect(page.suspects.find((of) => of.name === gone.sample), `Taken back: ${gone.mark}. `);
}

function marksText() {
  const lines = inOrder().filter((of) => markOf(of.name)).map((of) =>
    [of.file || null, of.probe, of.label, of.suggested, markOf(of.name)].map(csvCell).join(","));
  return ["file,probe,label,suggested,mark", ...lines].map((line) => `${line}\n`).join("");
}

function layReview() {
  const sorts = [...page.methods.map((of) => [of.id, `${of.name} (flags ${of.flagged.toLocaleString("en")})`]), [BY_SCORE, "Score, highest first"]];
  const change = (name) => (value) => {
    review[name] = value;
    history.replaceState(null, "", hrefOf(review.at?.name ?? ""));
    drawReview("");
  };
  $("#review").replaceChildren(
    h("p", { class: "hint" }, `The ${plural(page.suspects.length, "label")} of ${page.total.toLocaleString("en")} that are looked at first. A mark is about the label, not about the model: the picture decides.`),
    h("div", { class: "bar controls" },
      h("label", { class: "progress" }, h("span", { id: "review-count" }), h("progress", { id: "review-progress", "aria-label": "marked" })),
      h("button", { type: "button", name: "undo", onclick: undo }, "Undo"),
      h("button", { type: "button", name: "download", onclick: () => save(marksText(), "label-marks.csv") }, "Download"),
      choose("sort", "In the order of", sorts, review.sort, change("sort")),
      choose("show", "Show", SHOWN, review.show, change("show"))),
    h("p", { class: "notices", id: "review-lost", role: "alert", hidden: true }, "This browser keeps nothing of a page like this: download before you close it."),
    h("div", { class: "review" },
      h("h2", { id: "review-label", tabindex: "-1" }),
      h("div", { id: "review-pictures" }),
      h("div", { id: "review-form" },
        h("div", { class: "marks", role: "group", "aria-labelledby": "review-label" }, MARKS.map((mark) =>
          h("button", { type: "button", name: mark.id, "aria-pressed": "false", onclick: () => give(mark.id) }, h("b", null, mark.name), " ", h("span", null, mark.means)))),
        h("p", { class: "keys" }, MARKS.map((mark) => [h("kbd", null, mark.key), ` ${mark.name.toLowerCase()}  `]), h("kbd", null, "U"), " undo  ", h("kbd", null, "←"), " ", h("kbd", null, "→"), " others"),
        h("div", { id: "review-facts" }))),
    h("h2", { id: "list-head" }),
    h("ol", { class: "cards", id: "suspects", "aria-labelledby": "list-head" }),
    h("p", { class: "unseen", role: "status", id: "review-said" }));
}

const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

function pictures(of) {
  const views = VIEWS.filter(([kind]) => kind === "whole" || has({ masked: of.image, heat: of.saliency }[kind])).toReversed();
  return h("div", { class: "views" }, views.map(([kind, name]) => h("figure", null, view(of, kind), h("figcaption", null, name))));
}

function facts(of) {
  const names = new Map(page.methods.map((method) => [method.id, method.name]));
  const ranks = page.methods.map(({ id }) => h("tr", null, h("th", { scope: "row" }, names.get(id)),
    h("td", { class: "number" }, of.ranks[id].toLocaleString("en")), h("td", null, of.flagged.includes(id) ? "flagged" : "")));
  const quadrant = page.quadrants[of.quadrant];
  return [
    h("dl", { class: "facts" },
      fact("Given label", [isolated(of.label), ` ${probability(of.p)}`]),
      fact("Suggested", [isolated(of.suggested), ` ${probability(of.other)}`]),
      fact("Score", has(of.score) ? [badge(quadrant), ` ${showScore(of.score, page.threshold)}`] : of.reason || "not judged"),
      of.file ? fact("File", h("code", null, isolated(seen(of.file)))) : fact("Probe", String(of.probe))),
    of.evaluation ? words(of.evaluation) : "",
    h("details", null, h("summary", null, "Place by each method"), h("table", { class: "plain" }, h("tbody", null, ranks))),
  ];
}

function card(of, place) {
  const mark = MARKS.find(({ id }) => id === markOf(of.name)), quadrant = page.quadrants[of.quadrant];
  return h("li", null, h("a", { class: `card ${quadrant?.id ?? "unscored"}`, href: hrefOf(of.name), "aria-current": of === review.at ? "true" : null },
    shot("", [of.picture ?? of.image]),
    h("span", { class: "told" },
      h("span", { class: "row" }, h("span", { class: "small" }, `#${place + 1}`), h("strong", { class: "small mark" }, mark?.name ?? "")),
      h("span", { class: "class" }, isolated(of.label), " → ", isolated(of.suggested)))));
}

function drawReview(said) {
  const list = listed(), done = page.suspects.filter((of) => markOf(of.name)).length, of = review.at;
  $("#review-count").textContent = `${done} of ${page.suspects.length}`;
  Object.assign($("#review-progress"), { max: page.suspects.length, value: done });
  $("[name=undo]").disabled = $("[name=download]").disabled = !done;
  $("#review-lost").hidden = review.keeps;
  $("#review-form").hidden = $("#review-pictures").hidden = !of;
  if (of) {
    $("#review-label").replaceChildren("Is “", isolated(of.label), "” right?");
    $("#review-pictures").replaceChildren(pictures(of));
    $("#review-facts").replaceChildren(...facts(of).filter((part) => part !== ""));
    for (const mark of MARKS) $(`.marks [name=${mark.id}]`).setAttribute("aria-pressed", String(markOf(of.name) === mark.id));
  } else $("#review-label").textContent = `Done: ${plural(done, "label")} marked. Download the file.`;
  $("#list-head").textContent = plural(list.length, "suspect");
  $("#suspects").replaceChildren(...list.map(card));
  $("#review-said").textContent = said + (of ? `Label ${of.label}, suggested ${of.suggested}.` : "Done.");
  document.title = of ? `${of.label} · ${review.title}` : review.title;
}

function routeLabels() {
  const unknown = readHash();
  layReview();
  if (unknown.length) $("#review").prepend(unknownNotice(unknown));
  review.at ??= inOrder().find((of) => !markOf(of.name)) ?? null;
  drawReview("");
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (!page.suspects || event.target.closest("select, input, textarea")) return;
  const mark = MARKS.find((of) => of.key === event.key.toUpperCase());
  if (mark) give(mark.id);
  else if (event.key.toLowerCase() === "u") undo();
  else if (event.key === "ArrowRight") move(1);
  else if (event.key === "ArrowLeft") move(-1);
  else return;
  event.preventDefault();
});

// Another tab of the same page went on.
window.addEventListener("storage", (event) => {
  if (event.key !== labelsKey()) return;
  readMarks();
  drawReview("");
});

start(() => {
  review.title = document.title;
  readMarks();
  window.addEventListener("hashchange", () => {
    routeLabels();
    $("#review-label").focus({ preventScroll: true });
    $(".review").scrollIntoView({ block: "nearest" });
  });
  routeLabels();
});
