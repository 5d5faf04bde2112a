// What the run comes to, in sentences that lead to where each is seen.

function finding() {
  const [first, ...rest] = page.findings;
  if (!first) return null;
  const line = (of, name) => h("p", { class: [name, of.alarm ? "alarm" : null].filter(Boolean).join(" ") || null },
    Object.keys(of.shown).length ? h("a", { href: galleryHref(of.shown) }, isolated(of.text)) : isolated(of.text));
  return h("section", { class: "finding", id: "finding", "aria-label": "What this run comes to" }, line(first, "first"), rest.map((of) => line(of, "")));
}
