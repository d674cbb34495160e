// Takes the page again every five seconds and puts the new content in place of the old one, without a flash: what is open
// stays open, and the focus stays where it is. Without this script the page is the same, and is loaded again as a whole.
"use strict";
const EVERY = 5000;
async function refresh() {
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const selector of ["main", "header p"]) {
      const [old, now] = [document.querySelector(selector), next.querySelector(selector)];
      if (!old || !now) continue;
      for (const open of old.querySelectorAll("details[open][id]")) now.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
      if (old.innerHTML === now.innerHTML) continue;
      const focused = focusOf(old);
      old.replaceChildren(...now.childNodes);
      focused(old);
    }
    document.title = next.title;
    if (stale) stale.textContent = "";
  } catch (error) {
    const line = document.getElementById("stale");
    if (line) line.textContent = " This replica does not answer any more: what you see is old.";
  }
}
// Where the focus is within an element, as a way to find the same place in what takes its place.
function focusOf(element) {
  const focused = document.activeElement;
  if (!focused || !element.contains(focused)) return () => {};
  const id = focused.closest("[id]")?.id;
  const same = (root) => [...(root ?? element).querySelectorAll("a, summary, [tabindex='0']")];
  const at = same(id ? document.getElementById(id) : null).indexOf(focused);
  const itself = focused.id;
  return () => {
    const root = id ? document.getElementById(id) : element;
    const next = itself ? document.getElementById(itself) : same(root)[at];
    next?.focus({ preventScroll: true });
  };
}
setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
