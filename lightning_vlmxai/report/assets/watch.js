// A page that is served while a run goes on: it loads itself again when there is a newer build.

async function look() {
  try {
    const answer = await fetch("/build", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== document.documentElement.dataset.build) location.reload();
  } catch {
    // The server has ended; the page stays as it is.
  }
}
setInterval(look, 1500);
