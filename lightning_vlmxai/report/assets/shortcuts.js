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

function cueCard(one, box, changed, ...told) {
  const own = boxed(shot(box ? "the picture, the cue outlined" : "the picture", [one.picture]), box);
  return h("li", null, h("a", { class: "card correct_low", href: probeHref(one.probe, page.shortcuts.round, null) },
    has(one.changed) ? h("span", { class: "beside" }, own, shot(changed, [one.changed])) : own,
    h("div", { class: "told" }, h("div", { class: "small" }, `probe ${one.probe}`), told.map((line) => h("div", { class: "small" }, line)))));
}

// What was predicted and how surely, before and after: the cue at place 1, the control at 2.
function turns(one, place) {
  const before = one.before, now = place === 1 ? one.cue : one.control;
  const sure = (at) => (one.sure ? ` ${decimals(one.sure[at])}` : "");
  return before === now ? ["stays ", isolated(now), one.sure ? `${sure(0)} → ${decimals(one.sure[place])}` : ""]
    : [isolated(before), sure(0), " → ", isolated(now), sure(place)];
}

const CUES = { there: "with it, as it is", erased: "erased", absent: "without it, as it is", pasted: "pasted" };

function cueGroups(groups) {
  return groups.length ? h("div", null, h("h3", null, "Right with it and without"),
    h("p", { class: "hint" }, "Of the pictures above, the worst group first. They were chosen among right answers: compare the same pictures as they are and changed."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "How often each group is right" }, h("table", { class: "plain groups" },
      h("thead", null, h("tr", null, ["Class", "Cue", "Right"].map((name) => h("th", null, name)))),
      h("tbody", null, groups.map((of) => h("tr", null, h("th", { scope: "row" }, isolated(of.class)), h("td", null, CUES[of.cue] ?? isolated(of.cue)),
        h("td", { class: "number" }, `${of.right} of ${of.total}`))))))) : "";
}

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
    erased ? cueCards("Pictures that bear it", "What is predicted where the cue is erased, and where as much is erased elsewhere. Left as it is, right without the cue.",
      erased.pictures.map((one) => cueCard(one, box, "the cue erased", ["without it: ", turns(one, 1)], ["control: ", turns(one, 2)]))) : "",
    cueCards(erased ? "Further pictures that bear it" : "Pictures that bear it", "The model was not asked about these without the cue.", of.others.map((one) => cueCard(one, box, ""))),
    pasted ? cueCards("Pictures of other classes", "What is predicted where the cue is pasted into them, and where as much is pasted from elsewhere. Left as it is, right with the cue.",
      pasted.pictures.map((one) => cueCard(one, null, "the cue pasted", ["with it: ", turns(one, 1)], ["control: ", turns(one, 2)]))) : "",
    cueGroups(of.groups));
}

function shortcuts(section) {
  const of = page.shortcuts;
  if (!of) return section.replaceChildren(h("h2", null, "Shortcuts were not looked for"),
    h("p", { class: "hint" }, "Pass VLMExplainCallback(find_shortcuts=True)."));
  section.replaceChildren(...of.found.length ? of.found.map(shortcutPart) : of.said.map((line) => h("p", null, isolated(line))),
    of.list ? h("p", { class: "jumps" }, h("a", { href: of.list }, "Training pictures that look like it"), ": shortcut_training.csv, the most alike first.") : "",
    h("p", { class: "hint" }, "A class stands here where its right answers look at something else than the object more often than those of other classes do; the sentence says whether they rest on it. shortcut_pictures.csv in the run folder lists the pictures."));
}
