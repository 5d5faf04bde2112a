// What a filter shows, or what was chosen of it, as a file: byte for byte that of `vlmxai export`.

const picked = new Set(); // numbers of chosen samples; the address has their names

// Take the chosen samples from an address; return the names that the page does not have.
function readPicks(names) {
  picked.clear();
  if (!names.length) return [];
  const numbers = new Map(page.samples.probe.map((_, i) => [rateName(i), i]));
  names.forEach((name) => numbers.has(name) && picked.add(numbers.get(name)));
  return names.filter((name) => !numbers.has(name));
}

function keepPicks() {
  chosenSamples.filters.pick = [...picked].map(rateName).join(",");
  keepAddress(galleryHref(chosenSamples.filters));
}

// Text that a file's name may hold, with what would act on the page shown as signs.
const seen = (name) => name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
  (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
const baseName = (path) => path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;

// To four digits; what lies in the middle (such numbers are odd 32nds) goes to the even one.
function toDigits(value) {
  if (!has(value)) return null;
  const places = page.exports.digits;
  if (Math.abs(value * 32) % 2 !== 1) return Number(value.toFixed(places)) + 0;
  const below = Math.floor(value * 10 ** places);
  return Number(`${below % 2 ? below + 1 : below}e-${places}`);
}

function exportRow(i) {
  const sample = sampleAt(page, i), round = page.rounds[sample.round];
  return {
    file: sample.file || null, probe: sample.probe, part: sample.part, round: round.key, epoch: round.epoch, step: round.step,
    label: sample.label, prediction: sample.prediction, correct: sample.correct, confidence: toDigits(sample.confidence),
    score: toDigits(sample.score), quadrant: has(sample.quadrant) ? sample.of.id : null, reason: sample.reason || null, drift: toDigits(sample.drift),
    evaluation: sample.evaluation, justification: sample.justification,
  };
}

function csvCell(value) {
  if (!has(value)) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function fiftyoneSample(row) {
  const truth = { _cls: "Classification", tags: [], label: row.label };
  const rest = Object.keys(page.exports.fields).filter((name) => name in row && name !== "prediction");
  return { filepath: row.file, tags: [row.quadrant ?? "unscored"], ground_truth: truth,
    prediction: { ...truth, label: row.prediction, confidence: row.confidence }, ...Object.fromEntries(rest.map((name) => [name, row[name]])) };
}

function labelStudioTask(row) {
  const result = { from_name: "class", to_name: "image", type: "choices", value: { choices: [row.prediction] } };
  const { file, ...rest } = row;
  return { data: { image: file, ...rest }, predictions: [{ model_version: row.round, score: row.confidence, result: [result] }] };
}

function exportText(numbers, kind) {
  const rows = numbers.map(exportRow), columns = page.exports.columns;
  if (kind === "csv") return [columns.join(","), ...rows.map((row) => columns.map((name) => csvCell(row[name])).join(","))].map((line) => `${line}\n`).join("");
  const named = rows.filter((row) => row.file);
  if (kind === "names") return [...new Set(named.map((row) => row.file))].map((name) => `${name}\n`).join("");
  const made = kind === "fiftyone"
    ? { name: "vlmxai", media_type: "image", sample_fields: page.exports.fields, samples: named.map(fiftyoneSample) }
    : named.map(labelStudioTask);
  return `${JSON.stringify(made, null, 2)}\n`;
}

function save(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const exporting = { kind: "csv" };

// A line under the filters: the format, how many samples of it, and how many of them are named.
function exportBar(found) {
  const holder = h("div", { class: "bar export", role: "group", "aria-label": "Export" });
  const redraw = (focus) => {
    const chosen = found.filter((i) => picked.has(i)), numbers = chosen.length ? chosen : found;
    const named = numbers.filter((i) => page.texts[page.samples.file[i]]).length;
    const [kind, , extension] = page.exports.formats.find(([of]) => of === exporting.kind);
    const count = kind === "csv" ? numbers.length : named;
    holder.replaceChildren(...[
      choose("export-format", "Export", page.exports.formats.map(([of, name]) => [of, name]), kind, (to) => {
        exporting.kind = to;
        redraw("export-format");
      }),
      h("button", { type: "button", name: "export", disabled: !count, onclick: () => save(exportText(numbers, kind), `vlmxai-samples.${extension}`) },
        `Save ${count.toLocaleString("en")} ${chosen.length ? "chosen" : ""} sample${count === 1 ? "" : "s"}`.replace("  ", " ")),
      chosen.length ? h("button", { type: "button", name: "clear-chosen", class: "link", onclick: () => {
        picked.clear();
        keepPicks();
        document.querySelectorAll(".pick").forEach((box) => (box.checked = false));
        redraw("export");
      } }, "choose none") : "",
      h("span", { class: "hint" }, named === numbers.length ? "" : `${named.toLocaleString("en")} of ${numbers.length.toLocaleString("en")} with a known file`,
        !named && numbers.length && page.exports.files ? ` (${page.exports.files})` : ""),
    ].filter(has));
    if (focus) $(`[name="${focus}"]`, holder)?.focus();
  };
  holder.addEventListener("chosen", () => redraw());
  redraw();
  return holder;
}

// A box on a card; several are exported together.
function pickBox(i, name) {
  const box = h("input", { type: "checkbox", class: "pick", "aria-label": `Choose ${name}`, title: "Choose for export" });
  box.checked = picked.has(i);
  box.addEventListener("change", () => {
    picked[box.checked ? "add" : "delete"](i);
    keepPicks();
    $(".export")?.dispatchEvent(new Event("chosen"));
  });
  return box;
}

// The file of a sample, to be copied.
function fileFact(sample) {
  if (!sample.file) return null;
  const name = h("code", { class: "file" }, seen(sample.file));
  const button = h("button", { type: "button", class: "link", name: "copy-file" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(sample.file);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(name); // so that Ctrl-C does it
      button.textContent = "marked";
    }
  });
  return fact("File", [isolated(name), " ", button]);
}
