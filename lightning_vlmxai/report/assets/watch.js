// A page that is served while a run goes on: it takes in newer builds, and says how far the run is.

function tellLive(text, isLive) {
  let line = $("#live");
  if (!line) {
    line = h("p", { id: "live", role: "status" });
    $("header").prepend(line);
  }
  line.dataset.live = String(isLive);
  if (line.textContent !== text) line.textContent = text;
}

let built = document.documentElement.dataset.build, updated = new Date();

async function look() {
  try {
    const answer = await fetch("/build", { cache: "no-store" });
    if (!answer.ok) return;
    const now = await answer.json();
    if (now.build !== built) {
      if (typeof renew !== "function") {
        location.reload();
        return;
      }
      const text = await (await fetch("/", { cache: "no-store" })).text();
      const newer = new DOMParser().parseFromString(text, "text/html");
      if (await renew(newer)) {
        built = newer.documentElement.dataset.build;
        updated = new Date();
      }
    }
    tellLive(`Live · ${now.status} · last update ${updated.toLocaleTimeString()}`, true);
  } catch {
    tellLive(`No longer live: the server has ended. Last update ${updated.toLocaleTimeString()}.`, false);
  }
}
look();
setInterval(look, 1500);
