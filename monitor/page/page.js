"use strict";
// Fills the live parts anew every five seconds while somebody looks. Without this the page reloads itself.
const pause = document.getElementById("pause");
const age = document.getElementById("age");
const said = document.getElementById("said");
let paused = false, shownAt = Date.now(), isAway = false;
document.documentElement.classList.add("js");

function isSelected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && part.contains(selection.anchorNode);
}
function fill(part, fresh) {
  if (part.innerHTML === fresh.innerHTML && part.className === fresh.className) return;
  if (isSelected(part)) return;  // somebody is about to copy it
  const focused = document.activeElement && part.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...part.querySelectorAll(".wide")].map(box => [box.id, box.scrollLeft]);
  part.className = fresh.className;
  part.replaceChildren(...[...fresh.childNodes].map(node => document.adoptNode(node)));
  for (const [id, left] of scrolled) {
    const box = document.getElementById(id);
    if (box) box.scrollLeft = left;
  }
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
}
function show(fresh) {
  const before = document.getElementById("first")?.className;
  const parts = [...fresh.querySelectorAll("[data-live]")];
  if (parts.some(part => !document.getElementById(part.id))) {
    document.querySelector("main").replaceWith(document.adoptNode(fresh.querySelector("main")));
  } else {
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (other) fill(part, other); else part.replaceChildren();
    }
  }
  document.title = fresh.title;
  const icon = fresh.querySelector("link[rel=icon]");
  if (icon) document.querySelector("link[rel=icon]").href = icon.href;
  const now = document.getElementById("first");
  if (now && now.className !== before) said.textContent = now.textContent;
}
async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}, signal: AbortSignal.timeout(8000)});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !fresh.querySelector("main")) throw new Error();
    show(fresh);
    shownAt = Date.now();
    isAway = false;
  } catch { isAway = true; }
  tell();
}
function tell() {
  const seconds = Math.round((Date.now() - shownAt) / 1000);
  age.textContent = isAway ? `the monitor has not answered for ${seconds} s` : `updated ${seconds} s ago`;
  age.className = isAway ? "away" : "";
}
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  refresh();
});
document.addEventListener("click", async event => {
  const button = event.target.closest(".copy button");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    said.textContent = "Copied";
    button.textContent = "Copied";
  } catch { getSelection().selectAllChildren(code); }
});
setInterval(refresh, 5000);
setInterval(tell, 1000);
document.addEventListener("visibilitychange", refresh);
