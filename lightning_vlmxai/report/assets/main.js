// Which view an address means.

const SECTIONS = { overview, gallery, changes, shortcuts, rate, probe };
const TITLES = { overview: "Overview", gallery: "Gallery", changes: "What changed", shortcuts: "Shortcuts", figures: "Figures", rate: "Rate", made: "Settings", probe: "Probe" };

let opened = null; // the sample whose card was followed, to come back to
let title = document.title;

function keepAddress(address) {
  if (location.hash === address || (!location.hash && address === "#/")) return;
  history.replaceState(null, "", address);
  document.title = nameView(readAddress());
}

// Go to an address in the same view, and keep the keyboard where it is.
function navigate(address, section) {
  const focused = document.activeElement, name = focused?.getAttribute("name"), at = focused?.selectionStart;
  history.replaceState(null, "", address);
  route();
  const again = name ? $(`[name="${name}"]`, section) : null;
  again?.focus();
  if (again && has(at) && again.type === "search") again.setSelectionRange(at, at);
}

function readAddress() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const [, view = "", number, ...rest] = path.split("/");
  const parameters = new URLSearchParams(query ?? "");
  if (view === "probe" && /^\d+$/.test(number ?? "") && !rest.length) return { name: "probe", number: Number(number), parameters };
  if (view === "" && !has(number)) return { name: "overview", parameters };
  if (has(TITLES[view]) && view !== "probe" && view !== "overview" && !has(number)) return { name: view, parameters };
  return { name: "overview", parameters: new URLSearchParams(), unknown: `a view "${path}"` };
}

function nameView({ name, number, parameters }) {
  const q = page.quadrants.find((of) => of.id === parameters.get("quadrant"));
  const parts = [name === "probe" ? `${page.isAudit ? "Sample" : "Probe"} ${number}` : TITLES[name], q?.name, parameters.get("class"), parameters.get("round")];
  return [...parts.filter(Boolean), title].join(" · ");
}

function route() {
  const at = readAddress(), { name, parameters } = at;
  const isNew = document.body.dataset.view !== name;
  document.body.dataset.view = name;
  document.title = nameView(at);
  document.querySelectorAll("main > section").forEach((section) => (section.hidden = section.dataset.view !== name));
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.dataset.view === name || (name === "probe" && link.dataset.view === "gallery")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  $('nav a[data-view="shortcuts"]').hidden = !page.shortcuts;
  const section = $(`#${name}`);
  if (name === "probe") probe(section, at.number, parameters);
  else if (SECTIONS[name]) SECTIONS[name](section, parameters);
  if (at.unknown) section.prepend(unknownNotice([at.unknown]));
  if (!isNew) return;
  window.scrollTo(0, 0);
  if (name === "probe") $("#probe h2").focus();
  if (name === "gallery" && opened !== null) $(`[data-sample="${opened}"]`)?.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-sample]");
  if (link) opened = link.dataset.sample;
});

// A probe's number leads to the probe, anything else to what has it in a name or in the judge's words.
function searchEverywhere() {
  const box = searchBox("everywhere", `${page.isAudit ? "Sample" : "Probe"}, class or word`, "", () => {});
  box.addEventListener("keydown", (event) => {
    const text = box.value.trim();
    if (event.key !== "Enter" || !text) return;
    const isProbe = /^\d+$/.test(text) && page.samples.probe.includes(Number(text));
    location.hash = isProbe ? `#/probe/${Number(text)}` : galleryHref({ round: "all", find: text });
    box.value = "";
  });
  return box;
}

function index() {
  page.byRound = page.series = page.lower = null;
  gallery.classes = countBy(page.samples.label);
  gallery.reasons = countBy(page.samples.reason);
  const { image, picture, score, quadrant } = page.samples;
  gallery.pictured = Uint8Array.from(image, (number, i) => has(number) || has(picture[i]));
  gallery.isUnlabelled = score.some((value, i) => has(value) && !has(quadrant[i]));
}

// Take in a newer build of the page; the view stays as it is, what people type too.
async function renew(newer) {
  if (document.body.dataset.view === "rate") return false;
  const scrolled = window.scrollY, focused = document.activeElement?.getAttribute("name");
  for (const id of ["data", "pictures"]) $(`#${id}`).textContent = $(`#${id}`, newer).textContent;
  for (const part of ["#head", "#figures", "#made"]) $(part).replaceChildren(...$(part, newer).childNodes);
  title = newer.title;
  await readPage();
  index();
  route();
  if (focused) $(`[name="${focused}"]`)?.focus();
  window.scrollTo(0, scrolled);
  return true;
}

start(() => {
  index();
  if (page.isAudit) $('nav a[data-view="changes"]').remove(); // it has one round
  $("nav").append(searchEverywhere());
  window.addEventListener("hashchange", route);
  route();
});
