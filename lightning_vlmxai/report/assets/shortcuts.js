// What a class's right answers rest on, where it lies, and what the model does without it.

// The box of the cue over a picture; light on dark, so that it shows on any.
function boxed(frame, box) {
  const image = $("img", frame);
  if (!box || !image) return frame;
  const [top, left, bottom, right] = box, mark = svg("svg", { class: "outline cue", "aria-hidden": "true" });
  image.addEventListener("load", () => {
    const w = image.naturalWidth, t = image.naturalHeight, d = `M${left * w} ${top * t}H${right * w}V${bottom * t}H${left * w}Z`;
    mark.setAttribute("viewBox", `0 0 ${w} ${t}`);
    mark.replaceChildren(svg("path", { class: "under", d }), svg("path", { d }));
  });
  frame.append(mark);
  return frame;
}

function cueCard(one, box, ...told) {
  return h("li", null, h("a", { class: "card correct_low", href: probeHref(one.probe, page.shortcuts.round, null) },
    boxed(shot(box ? "the picture, the cue outlined" : "the picture", [one.picture]), box),
    h("div", { class: "told" }, h("div", { class: "small" }, `probe ${one.probe}`), told.map((line) => h("div", { class: "small" }, line)))));
}

const turns = (before, now) => (before === now ? ["stays ", isolated(now)] : [isolated(before), " → ", isolated(now)]);

function cueCards(title, hint, cards) {
  if (!cards.length) return "";
  const holder = h("ul", { class: "cards" }, cards.slice(0, 12));
  const more = cards.length > 12 ? h("button", { type: "button", onclick: () => {
    holder.append(...cards.slice(12));
    $("a", cards[12]).focus();
    more.remove();
  } }, `Show all ${cards.length}`) : "";
  return h("div", null, h("h3", null, title), h("p", { class: "hint" }, hint), holder, more);
}

function effectRow(name, effect) {
  return effect ? h("tr", null, h("th", { scope: "row" }, name),
    h("td", { class: "number" }, `${effect.flipped} of ${effect.total}`), h("td", { class: "number" }, `${effect.control} of ${effect.total}`),
    h("td", { class: "number" }, decimals((effect.flipped - effect.control) / effect.total), " ", h("span", { class: "ends" }, ends([effect.lower, effect.upper]))),
    h("td", { class: "number" }, signed(effect.moved)), h("td", { class: "number" }, signed(effect.control_moved))) : null;
}

function shortcutPart(of) {
  const { erased, pasted, box } = of;
  return h("article", { class: "shortcut" }, h("h2", null, isolated(of.class)), h("p", null, isolated(of.text)),
    erased || pasted ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What the cue does to predictions" }, h("table", { class: "plain" },
      h("thead", null, h("tr", null, ["", "Turned", "Control turned", "Difference, 95 %", "Confidence moved", "Control's moved"].map((name) => (name ? h("th", null, name) : h("td"))))),
      h("tbody", null, effectRow("Erased", erased), effectRow("Pasted", pasted)))) : "",
    erased ? cueCards("Pictures that bear it", "What is predicted where the cue is erased, and where as much is erased elsewhere.",
      erased.pictures.map((one) => cueCard(one, box, ["without it: ", turns(one.before, one.cue)], ["control: ", turns(one.before, one.control)]))) : "",
    cueCards(erased ? "Further pictures that bear it" : "Pictures that bear it", "The model was not asked about these without the cue.", of.others.map((one) => cueCard(one, box))),
    pasted ? cueCards("Pictures of other classes", "What is predicted where the cue is pasted into them, and where as much is pasted from elsewhere. They are shown as they are.",
      pasted.pictures.map((one) => cueCard(one, null, ["with it: ", turns(one.before, one.cue)], ["control: ", turns(one.before, one.control)]))) : "");
}

function shortcuts(section) {
  const of = page.shortcuts;
  if (!of) return section.replaceChildren(h("h2", null, "Shortcuts were not looked for"),
    h("p", { class: "hint" }, "Pass VLMExplainCallback(find_shortcuts=True)."));
  section.replaceChildren(...of.found.length ? of.found.map(shortcutPart) : of.said.map((line) => h("p", null, isolated(line))),
    h("p", { class: "hint" }, "A class stands here where its right answers look at something else than the object more often than those of other classes do; the sentence says whether they rest on it. shortcut_pictures.csv in the run folder lists the pictures."));
}
