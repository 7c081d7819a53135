"use strict";
// Shows a fresh page every five seconds while somebody looks at it. Without this the page reloads itself.
const pause = document.getElementById("pause");
const age = document.getElementById("age");
let paused = false, shownAt = Date.now();
pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
});
async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}, signal: AbortSignal.timeout(4000)});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (!fresh) return;
    document.querySelector("main").replaceWith(document.adoptNode(fresh));
    shownAt = Date.now();
  } catch { /* the age below says it */ }
}
setInterval(refresh, 5000);
setInterval(() => { age.textContent = `updated ${Math.round((Date.now() - shownAt) / 1000)} s ago`; }, 1000);
document.addEventListener("visibilitychange", refresh);
