// People rate samples of a round, as the judge does: the picture and the predicted label, and
// nothing that tells what the judge said. Kept in the browser, taken away as a file.

const RUBRIC = ["unrelated to the object", "object not recognisable, attention elsewhere", "a small part of the object",
  "object recognisable, other things as well", "most of the object, little distraction", "the whole object and nothing else"];

const rating = { at: null, answers: [], size: null, rater: "", note: "", isOpen: false, keeps: true };

const rateKey = () => `vlmxai-rate-${rating.at.digest}`;
const rateRound = () => page.rounds[rating.at.round];
const rateDraw = () => rating.at.draws.find((draw) => draw.size === rating.size) ?? rating.at.draws.at(-1);
const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function rateName(i) {
  const s = page.samples;
  return [page.rounds[s.round[i]].key, s.probe[i], s.part[i]].filter(has).join("/");
}

function isAnswer(of) {
  return of && typeof of.sample === "string" && (of.score === null || RUBRIC[of.score] !== undefined) && typeof of.note === "string";
}

function readRatings() {
  let kept = null;
  rating.keeps = true;
  try {
    kept = JSON.parse(localStorage.getItem(rateKey()));
  } catch {
    rating.keeps = false;
  }
  const sizes = rating.at.draws.map((draw) => draw.size);
  rating.answers = Array.isArray(kept?.answers) ? kept.answers.filter(isAnswer) : [];
  rating.size = sizes.includes(kept?.size) ? kept.size : sizes.findLast((size) => size <= 60) ?? sizes[0];
  rating.rater = typeof kept?.rater === "string" ? kept.rater : "";
  rating.note = "";
}

function keepRatings() {
  try {
    localStorage.setItem(rateKey(), JSON.stringify({ rater: rating.rater, size: rating.size, answers: rating.answers }));
  } catch {
    rating.keeps = false;
  }
}

// The draw in its order: numbers in the page, weights, and what was answered.
function rateList() {
  const draw = rateDraw(), answers = new Map(rating.answers.map((of) => [of.sample, of]));
  return draw.samples.map((i, k) => ({ i, weight: draw.weights[k], name: rateName(i), answer: answers.get(rateName(i)) }));
}

function downloadRatings() {
  const list = rateList().filter((of) => of.answer), round = rateRound();
  const line = (of) => ({ sample: of.name, score: of.answer.score, weight: of.weight, note: of.answer.note });
  const file = {
    format: "vlmxai-ratings", version: 1, rater: rating.rater || "rater", round: round.key, digest: rating.at.digest,
    draw: { size: rateDraw().size, of: rating.at.judged - rating.at.hidden, hidden: rating.at.hidden },
    ratings: list.map(line).filter((of) => has(of.score)),
    skipped: list.map(line).filter((of) => !has(of.score)),
  };
  const address = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
  const link = h("a", { href: address, download: ratingsFile() });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function ratingsFile() {
  const name = (rating.rater || "rater").normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase();
  return `ratings-${rateRound().key}-${name || "rater"}.json`;
}

function give(score) {
  const next = rateList().find((of) => !of.answer);
  if (!next) return;
  rating.answers.push({ sample: next.name, score, note: rating.note.trim() });
  rating.note = "";
  keepRatings();
  drawRating("");
}

function undo() {
  const shown = new Set(rateList().map((of) => of.name));
  const last = rating.answers.findLastIndex((of) => shown.has(of.sample));
  if (last < 0) return;
  const [gone] = rating.answers.splice(last, 1);
  rating.note = gone.note;
  keepRatings();
  drawRating(`Taken back: ${has(gone.score) ? gone.score : "can't tell"}. `);
}

function rate(section, query) {
  const asked = page.rate.find((of) => page.rounds[of.round].key === query.get("round"));
  const newest = page.rate.findLast((of) => page.curve.includes(of.round)) ?? page.rate.at(-1);
  const at = asked ?? newest;
  if (!at?.draws.length) {
    const why = at ? "The pictures of this round are not there." : "No round has a judged sample.";
    section.replaceChildren(h("h2", null, "Rate"), h("p", { class: "hint" }, `${why} There is nothing to rate.`));
    return;
  }
  if (rating.at === at && section.firstChild) return;
  rating.at = at;
  readRatings();
  rating.isOpen = rating.answers.length > 0;
  layRating(section);
}

function layRating(section) {
  section.replaceChildren(rating.isOpen ? ratingPanel() : ratingSetup(section));
  if (rating.isOpen) drawRating("");
}

function ratingSetup(section) {
  const { at } = rating, some = rating.answers.length;
  const name = h("input", { name: "rater", value: rating.rater, autocomplete: "off", maxlength: "40", placeholder: "as the file is called" });
  name.addEventListener("input", () => (rating.rater = name.value.trim()));
  const rounds = page.rate.map((of) => [page.rounds[of.round].key, roundLong(page.rounds[of.round])]);
  const sizes = at.draws.map((draw) => [String(draw.size), draw.size === at.judged - at.hidden ? `all ${draw.size}` : String(draw.size)]);
  const clear = h("button", { type: "button", name: "clear" }, `Delete ${plural(some, "rating")}`);
  clear.addEventListener("click", () => {
    if (clear.dataset.sure === undefined) {
      clear.dataset.sure = "";
      clear.textContent = `Really delete ${plural(some, "rating")}?`;
      return;
    }
    rating.answers = [];
    rating.rater = "";
    keepRatings();
    layRating(section);
    $("input", section).focus();
  });
  return h("div", { class: "rate-setup" },
    h("h2", null, "Rate what the judge rated"),
    h("p", { class: "hint" }, "You see the masked pictures and the predicted labels, drawn at random from this round's judged samples, and give each the score from 0 to 5 that you find right. ",
      "The judge's scores are not shown: look at nothing else of this report before you are done. ",
      "With 30 ratings and more the round's rates can be corrected; two people who rate the same samples show how far people agree."),
    h("div", { class: "bar" },
      choose("rate-round", "Round", rounds, rateRound().key, (key) => {
        history.replaceState(null, "", `#/rate?round=${encodeURIComponent(key)}`);
        route();
      }),
      choose("rate-size", "Samples", sizes, String(rating.size), (size) => (rating.size = Number(size))),
      h("label", null, "Your name", name)),
    at.hidden ? h("p", { class: "hint" }, `${plural(at.hidden, "judged sample")} can't be rated: no picture. Corrected rates are of the others.`) : null,
    h("div", { class: "bar" },
      h("button", { type: "button", name: "start", class: "strong", onclick: () => {
        rating.isOpen = true;
        keepRatings();
        history.replaceState(null, "", `#/rate?round=${encodeURIComponent(rateRound().key)}`);
        layRating(section);
        $("#rate-label").focus({ preventScroll: true });
        section.scrollIntoView();
      } }, some ? "Go on" : "Start"), some ? clear : null));
}

function ratingPanel() {
  const note = h("input", { name: "note", autocomplete: "off", maxlength: "500" });
  note.addEventListener("input", () => (rating.note = note.value));
  note.addEventListener("keydown", (event) => ["Enter", "Escape"].includes(event.key) && (event.preventDefault(), note.blur()));
  return h("div", { class: "rate" },
    h("div", { class: "bar controls" },
      h("label", { class: "progress" }, h("span", { id: "rate-count" }), h("progress", { id: "rate-progress", "aria-label": "rated" })),
      h("button", { type: "button", name: "undo", onclick: undo }, "Undo"),
      h("button", { type: "button", name: "download", onclick: downloadRatings }, "Download"),
      h("button", { type: "button", name: "setup", onclick: () => {
        rating.isOpen = false;
        layRating($("#rate"));
        $("#rate select").focus();
      } }, "Round, name")),
    h("p", { class: "notices", id: "rate-lost", role: "alert", hidden: true }, "This browser keeps nothing of a page like this: download before you close it."),
    h("div", { class: "rate-sample" },
      h("h2", { tabindex: "-1", id: "rate-label" }),
      h("div", { id: "rate-picture" }),
      h("div", { id: "rate-form" },
        h("div", { class: "scores", role: "group", "aria-labelledby": "rate-label" }, RUBRIC.map((text, score) =>
          h("button", { type: "button", name: `score-${score}`, onclick: () => give(score) }, h("b", null, String(score)), " ", h("span", null, text)))),
        h("label", { class: "note" }, "Note, kept with the score", note),
        h("div", { class: "bar" }, h("button", { type: "button", name: "skip", onclick: () => give(null) }, "I can't tell"),
          h("span", { class: "keys" }, h("kbd", null, "0"), " to ", h("kbd", null, "5"), " score  ", h("kbd", null, "S"), " can't tell  ", h("kbd", null, "U"), " undo  ", h("kbd", null, "N"), " note"))),
      h("div", { id: "rate-done", hidden: true })),
    h("p", { class: "unseen", role: "status", id: "rate-said" }));
}

// Only what changes is drawn, so that the focus stays where it is.
function drawRating(said) {
  const list = rateList(), done = list.filter((of) => of.answer).length, next = list.find((of) => !of.answer);
  $("#rate-count").textContent = `${done} of ${list.length}`;
  Object.assign($("#rate-progress"), { max: list.length, value: done });
  $("#rate [name=undo]").disabled = $("#rate [name=download]").disabled = !done;
  $("#rate-lost").hidden = rating.keeps;
  $("#rate-form").hidden = $("#rate-picture").hidden = !next;
  $("#rate-done").hidden = Boolean(next);
  $(".rate-sample").classList.toggle("over", !next);
  if (!next) {
    const skipped = list.filter((of) => !has(of.answer.score)).length;
    $("#rate-label").textContent = `Done: ${plural(done - skipped, "sample")} rated`;
    $("#rate-done").replaceChildren(
      h("p", null, skipped ? `${skipped} you could not tell. ` : "", "Download the file, and hand it with those of others to"),
      h("p", null, h("code", null, `vlmxai agree RUN ${ratingsFile()}`)),
      h("button", { type: "button", class: "strong", onclick: downloadRatings }, "Download"),
      h("p", { class: "hint" }, "RUN is the run folder that this report is of. The report shows corrected rates when it is built again."));
    $("#rate-said").textContent = `${said}Done.`;
    $("#rate-label").focus();
    return;
  }
  const label = page.texts[page.samples.prediction[next.i]];
  $("#rate-label").replaceChildren("How well do the visible parts show “", isolated(label || "(no name)"), "”?");
  $("#rate-picture").replaceChildren(shot("the masked picture", [page.samples.image[next.i]]));
  $("#rate [name=note]").value = rating.note;
  $("#rate-said").textContent = `${said}Sample ${done + 1} of ${list.length}: ${label}`;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (document.body.dataset.view !== "rate" || !rating.isOpen || event.target.closest("select, input, textarea")) return;
  const key = event.key.toLowerCase();
  if (/^[0-5]$/.test(key)) give(Number(key));
  else if (key === "s") give(null);
  else if (key === "u") undo();
  else if (key === "n") $("#rate [name=note]")?.focus();
  else return;
  event.preventDefault();
});

// Another tab of the same report went on.
window.addEventListener("storage", (event) => {
  if (!rating.at || event.key !== rateKey()) return;
  readRatings();
  layRating($("#rate"));
});
