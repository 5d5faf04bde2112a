// Which view an address means.

let opened = null; // the sample whose card was followed, to come back to

function route() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const [, view = "", number] = path.split("/");
  const name = ["gallery", "figures", "rate", "made"].includes(view) ? view : view === "probe" && /^\d+$/.test(number ?? "") ? "probe" : "overview";
  const parameters = new URLSearchParams(query ?? "");
  const isNew = document.body.dataset.view !== name;
  document.body.dataset.view = name;
  document.querySelectorAll("main > section").forEach((section) => (section.hidden = section.dataset.view !== name));
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.dataset.view === name || (name === "probe" && link.dataset.view === "gallery")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  if (name === "gallery") gallery($("#gallery"), parameters);
  if (name === "rate") rate($("#rate"), parameters);
  if (name === "probe") probe($("#probe"), Number(number), parameters);
  if (!isNew) return;
  window.scrollTo(0, 0);
  if (name === "probe") $("#probe h2").focus();
  if (name === "gallery" && opened !== null) $(`[data-sample="${opened}"]`)?.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-sample]");
  if (link) opened = link.dataset.sample;
});

start(() => {
  gallery.classes = countBy(page.samples.label);
  gallery.reasons = countBy(page.samples.reason);
  overview($("#overview"));
  window.addEventListener("hashchange", route);
  route();
});
