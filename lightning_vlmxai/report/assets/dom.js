// Elements, numbers as text, and the samples behind the page. Text only ever becomes a text node.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
const svg = (tag, props, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

const has = (value) => value !== null && value !== undefined;
const decimals = (value, places = 2) => (has(value) ? value.toFixed(places) : "–");
const signed = (value) => (has(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) : "–");
const percent = (value) => (has(value) ? `${Math.round(value * 100)} %` : "–");
const ends = (interval) => (interval ? `${decimals(interval[0])}–${decimals(interval[1])}` : "");

// A score with the fewest decimals that leave it on its side of the threshold: the sheets' own rule.
function showScore(score, threshold, places = 1) {
  const text = score.toFixed(places);
  return Number(text) >= threshold === score >= threshold ? text : showScore(score, threshold, places + 1);
}
const isolated = (text) => h("bdi", null, text);
const UNSCORED = { id: "unscored", short: "–", name: "Unscored" };
const UNLABELLED = [{ id: "low", short: "L", name: "Low, without a label" }, { id: "high", short: "H", name: "High, without a label" }];

function badge(quadrant) {
  const of = quadrant ?? UNSCORED;
  return h("span", { class: `badge ${of.id}`, title: of.name }, of.short);
}

// A text of the judge's: as it is, folded where it is long.
function words(text) {
  if (!text) return h("p", { class: "words hint" }, "–");
  const element = h("p", { class: "words" }, text);
  if (text.length <= 420 && text.split("\n").length <= 6) return element;
  element.classList.add("clamped");
  const toggle = h("button", { class: "link", type: "button", "aria-expanded": "false" }, "show all");
  toggle.addEventListener("click", () => {
    const isFolded = element.classList.toggle("clamped");
    toggle.textContent = isFolded ? "show all" : "show less";
    toggle.setAttribute("aria-expanded", String(!isFolded));
  });
  return h("div", null, element, toggle);
}

// `layers`: numbers of pictures, the bottom one first; class names of the rest follow theirs.
function shot(label, ...layers) {
  const frame = h("span", { class: "shot" });
  const missing = () => frame.replaceChildren(h("span", { class: "none" }, "no picture"));
  if (!has(layers[0]?.[0])) missing();
  else
    for (const [number, name] of layers) {
      if (!has(number)) continue;
      const image = h("img", { class: name, alt: label, loading: "lazy", decoding: "async" });
      image.addEventListener("load", () => {
        if (image.naturalWidth < 80) image.classList.add("pixels");
      });
      image.addEventListener("error", missing);
      image.src = page.pictures[number];
      frame.append(image);
    }
  return frame;
}

const VIEWS = [
  ["masked", "Judged", "what the judge saw"],
  ["heat", "Saliency", "where the model looked"],
  ["whole", "Picture", "the whole picture"],
];
function view(sample, kind) {
  if (page.isAudit && !has(sample.image) && !has(sample.picture)) return h("span", { class: "shot unkept" }, h("span", { class: "none" }, "picture not kept"));
  if (kind === "masked") return shot("what the judge saw", [sample.image]);
  if (kind === "whole") return shot("the whole picture", [sample.picture]);
  if (!has(sample.saliency)) return shot("");
  return has(sample.picture)
    ? shot("where the model looked", [sample.picture], [sample.saliency, "heat"])
    : shot("where the model looked", [sample.saliency]);
}

const page = { pictures: [] };

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(`#${id}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function readPage() {
  Object.assign(page, await unpack("data"));
  page.pictures = JSON.parse($("#pictures").textContent);
}

// The tables are in the page as they are: a browser that can't open the data still shows them.
async function start(show) {
  try {
    await readPage();
    show();
  } catch (error) {
    $("main").prepend(h("p", { class: "notices", role: "alert" }, `Charts and pictures can't be shown: ${error.message}`));
  }
  document.documentElement.dataset.ready = "";
}

// Sample number `i` of a table of columns, as one object.
function sampleAt(table, i) {
  const sample = { i };
  for (const name of Object.keys(table.samples)) sample[name] = table.samples[name][i];
  for (const name of table.textColumns) sample[name] = table.texts[sample[name]];
  sample.threshold = table.threshold;
  sample.of = has(sample.quadrant) ? table.quadrants[sample.quadrant] : has(sample.score) ? UNLABELLED[Number(sample.score >= table.threshold)] : null;
  return sample;
}

function scoreText(sample) {
  if (!has(sample.score)) return h("span", { class: "small" }, has(sample.late) ? `late ${showScore(sample.late, sample.threshold)}` : sample.reason || "unscored");
  return h("span", { class: "score" }, showScore(sample.score, sample.threshold), sample.borderline ? [" ", h("span", { class: "close", title: spreadTold(sample) }, "borderline")] : "");
}
const spreadTold = (sample) => `the judge's own answers are ${decimals(sample.spread)} apart, the threshold is ${sample.threshold}`;

const roundName = (round) => `${round.stage} ${round.number}`;
const roundLong = (round) =>
  roundName(round) + (has(round.epoch) ? ` · epoch ${round.epoch}` : "") + (has(round.step) ? ` · step ${round.step}` : "");

function choose(name, label, options, value, onchange) {
  const select = h("select", { name }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return h("label", null, label, select);
}

// A box to type into; `onsearch` gets the text as it is typed.
function searchBox(name, label, value, onsearch) {
  const input = h("input", { name, type: "search", value, placeholder: label, "aria-label": label, autocomplete: "off" });
  input.addEventListener("input", () => onsearch(input.value.trim()));
  return input;
}

// What an address names and the page does not have, in a sentence; nothing where all is there.
function unknownNotice(said) {
  return said.length ? h("p", { class: "notices", role: "alert", id: "unknown" }, `This link names what is not in this page: ${said.join(", ")}. What is shown is the usual choice instead.`) : "";
}
