// The judge's side of a sample, and the outline of its reference mask.

function askedText(name, text) {
  return [h("h3", null, name), h("pre", { class: "words", tabindex: "0", role: "region", "aria-label": name }, text)];
}

function askedPrompt(line) {
  const prompt = page.asked.prompts[line.prompt];
  if (!prompt) return h("p", { class: "hint" }, `The words of prompt ${line.prompt || "(unknown)"} are not in this folder.`);
  return h("details", null, h("summary", null, `Prompt ${line.prompt}, as it was sent`),
    askedText("Prompt", prompt.template.replaceAll("{label}", line.label)),
    line.problem ? askedText("Asked again with", prompt.reask.replaceAll("{problem}", line.problem)) : null);
}

// One question: those of several samples follow each other.
function askedOnce(line, place, count) {
  const whence = line.cached ? (line.paid ? `cached, paid for in ${line.paid}` : "cached, paid for in another run") : "asked for";
  const facts = [["Model", line.model], ["Answer", whence], ["In", `${line.stage} ${line.round}`], ["Tries", line.tries],
    ["Tokens", line.tokens?.toLocaleString("en")], ["Took", line.cached || !has(line.latency) ? null : `${decimals(line.latency)} s`],
    ["Cost", line.cost ? `$${line.cost.toFixed(4)}` : null], ["Form", line.format], ["Status", line.status],
    ["Score", has(line.score) ? decimals(line.score) : line.reason]];
  const many = line.answers.length > 1;
  return h("div", { class: "once" }, count > 1 ? h("h3", null, `Sample ${place + 1} of ${count}`) : null,
    h("dl", { class: "facts" }, facts.filter(([, value]) => has(value) && value !== "").map(([name, value]) => fact(name, isolated(String(value))))),
    line.answers.length ? line.answers.map((answer, i) => askedText(many ? `Answer ${i + 1} of ${line.answers.length}` : "Answer, as it came", answer))
      : h("p", { class: "hint" }, line.cached ? "The words of the cached answer are not in this folder's log." : "No words of the model came back."),
    askedPrompt(line));
}

function askedDetails(sample) {
  const ids = page.asked.of[sample.i], lines = (ids ?? []).map((id) => page.asked.lines[id]);
  const none = ids ? "This page leaves it out to stay small; judge_calls.jsonl in the run folder has it."
    : sample.reused ? "The verdict of an earlier round stands; which call gave it is not known." : page.asked.none;
  const told = [sample.reused ? "the verdict of an earlier round stands" : null, has(sample.spread) ? `spread of ${lines.length || "its"} samples ${decimals(sample.spread)}` : null].filter(Boolean).join(" · ");
  const element = h("details", { class: "asked", open: shown.asked }, h("summary", null, "What the judge was asked and said"),
    told ? h("p", { class: "hint" }, told) : null,
    lines.length ? lines.map((line, i) => askedOnce(line, i, lines.length)) : h("p", { class: "hint" }, none));
  element.addEventListener("toggle", () => (shown.asked = element.open));
  return element;
}

const shown = { asked: false, outline: true }; // as it was left at the last probe

// Light on dark, so that it shows on any picture.
function outlined(frame, sample) {
  const [width, height, path] = page.outlines[sample.picture] ?? [];
  if (path) frame.append(svg("svg", { class: "outline", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("path", { class: "under", d: path }), svg("path", { d: path })));
  return frame;
}

function outlineToggle(sample, views) {
  if (!page.outlines[sample.picture]) return null;
  views.classList.toggle("plain-views", !shown.outline);
  const box = h("input", { type: "checkbox", name: "outline" });
  box.checked = shown.outline;
  box.addEventListener("change", () => {
    shown.outline = box.checked;
    views.classList.toggle("plain-views", !shown.outline);
  });
  return h("label", { class: "hint toggle" }, box, " outline of the reference mask, drawn here only");
}
