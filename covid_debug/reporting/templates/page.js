"use strict";
// The page: day or night, storage, dialogs, wide tables, and links inside a viewer's frame.
const page = (() => {
  // A viewer that shows the report in a sandboxed frame (MLflow does) follows no link inside it,
  // refuses storage and drops downloads.
  const isFramed = window.top !== window;
  for (const link of isFramed ? document.querySelectorAll('a[href^="#"]') : []) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector(link.hash).scrollIntoView();
    });
  }

  let storage = null;
  try {
    localStorage.setItem("covid_debug:probe", "");
    localStorage.removeItem("covid_debug:probe");
    storage = localStorage;
  } catch { /* shown by noteStorage */ }
  const load = (key) => storage && storage.getItem("covid_debug:" + key);
  function save(key, text) {
    try { if (storage) storage.setItem("covid_debug:" + key, text); } catch { storage = null; noteStorage(); }
  }
  function noteStorage() {
    const note = document.getElementById("storage-note");
    if (!note) return;  // a report without films
    note.hidden = storage !== null;
    document.getElementById("storage-kept").hidden = storage === null;
  }
  noteStorage();

  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  function showTheme() { button.textContent = isDark() ? "Light page" : "Dark page"; }
  const saved = load("theme");
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    save("theme", root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();
  button.hidden = false;

  // What is wider than the window scrolls by keyboard too.
  function setScrollers() {
    for (const box of document.querySelectorAll(".scroll, .confusions, pre")) {
      const isWide = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (isWide === box.hasAttribute("tabindex")) continue;
      if (!isWide) { for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name); continue; }
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", `${box.closest("section")?.querySelector("h2")?.textContent || "Table"}, scrolls`);
    }
  }
  setScrollers();
  window.addEventListener("resize", setScrollers);
  document.addEventListener("toggle", setScrollers, true);  // a fold was opened

  /** Open a dialog; ``act`` gets the pressed button's answer, and nothing after Escape. */
  function ask(dialog, act) {
    dialog.onclick = (event) => {
      const answer = event.target.dataset.close;
      if (answer) { dialog.close(); act(answer); }
    };
    dialog.onkeydown = (event) => {
      if (event.key !== "Enter" || event.target.matches("button")) return;
      event.preventDefault();
      dialog.close();
      act("yes");
    };
    dialog.showModal();
  }

  return { isFramed, ask, load, save, isStored: () => storage !== null };
})();
