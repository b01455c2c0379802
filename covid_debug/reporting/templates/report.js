"use strict";
(() => {
  // A viewer that shows the report in a sandboxed frame (MLflow does) follows no link inside it,
  // refuses storage and drops downloads.
  const isFramed = window.top !== window;
  for (const link of isFramed ? document.querySelectorAll('a[href^="#"]') : []) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector(link.hash).scrollIntoView();
    });
  }

  const list = document.getElementById("card-list");
  if (!list) return;
  const cards = [...list.querySelectorAll(".card")];
  const filters = [...document.querySelectorAll("[data-filter]")];
  const storageKey = "covid_debug:" + document.body.dataset.reportKey;
  const reviewerField = document.getElementById("reviewer");
  let current = null;
  const given = JSON.parse(document.getElementById("decisions").textContent);
  const decisions = { ...given };

  let storage = null;
  let isExported = true;
  try {
    localStorage.setItem("covid_debug:probe", "");
    localStorage.removeItem("covid_debug:probe");
    storage = localStorage;
  } catch { /* shown by noteStorage */ }
  const load = (key) => storage && storage.getItem(key);
  function save(key, text) {
    try { if (storage) storage.setItem(key, text); } catch { storage = null; noteStorage(); }
  }
  function noteStorage() {
    document.getElementById("storage-note").hidden = storage !== null;
    document.getElementById("storage-kept").hidden = storage === null;
  }
  noteStorage();
  window.addEventListener("beforeunload", (event) => {
    if (!storage && !isExported) event.preventDefault();
  });

  try {
    Object.assign(decisions, JSON.parse(load(storageKey) || "{}"));
  } catch { /* a damaged entry is ignored; the next decision overwrites it */ }
  reviewerField.value = load("covid_debug:reviewer") || "";
  reviewerField.addEventListener("input", () => save("covid_debug:reviewer", reviewerField.value));

  // Decisions made here before the name was typed are the reviewer's too; those that came with the
  // report are not.
  function sign() {
    for (const [key, entry] of Object.entries(decisions)) {
      if (!entry.reviewer && JSON.stringify(entry) !== JSON.stringify(given[key])) {
        entry.reviewer = reviewerField.value;
      }
    }
    save(storageKey, JSON.stringify(decisions));
  }
  reviewerField.addEventListener("change", sign);

  // A decision about a film is kept under its id, one about a region under "<id>#<place>".
  const entryOf = (card) => decisions[card.dataset.id] || {};
  const regionsOf = (card) => [...card.querySelectorAll(".region")];
  const keyOf = (card, region) => `${card.dataset.id}#${region.dataset.region}`;

  function put(card, key, change) {
    const entry = { decision: "", note: "", ...decisions[key], ...change, reviewer: reviewerField.value };
    if (entry.decision || entry.note) decisions[key] = entry;
    else delete decisions[key];
    isExported = false;
    save(storageKey, JSON.stringify(decisions));
    show(card);
    count();
  }

  const record = (card, change) => put(card, card.dataset.id, change);

  function decideRegion(card, region, decision) {
    const key = keyOf(card, region);
    put(card, key, {
      decision: decisions[key]?.decision === decision ? "" : decision,
      region_index: Number(region.dataset.region),
      box: region.dataset.box.split(",").map(Number),
    });
  }

  function stepRegion(card, region) {
    const steps = ["accept", "keep", "reject"];
    const now = decisions[keyOf(card, region)]?.decision;
    decideRegion(card, region, steps[steps.indexOf(now) + 1] || now);  // the last step takes it back
  }

  function show(card) {
    const entry = entryOf(card);
    for (const button of card.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decide === entry.decision));
    }
    for (const region of regionsOf(card)) {
      const state = decisions[keyOf(card, region)]?.decision || "";
      for (const button of region.querySelectorAll("[data-region-decide]")) {
        button.setAttribute("aria-pressed", String(button.dataset.regionDecide === state));
      }
      for (const outline of card.querySelectorAll(`polygon[data-region="${region.dataset.region}"]`)) {
        outline.dataset.state = state;
      }
    }
    const note = card.querySelector(".note-field");
    if (document.activeElement !== note) note.value = entry.note || "";
  }

  const visible = () => [...list.children].filter((card) => !card.hidden);

  function decide(card, decision) {
    const before = visible();
    record(card, { decision: entryOf(card).decision === decision ? "" : decision });
    applyFilters();
    if (!card.hidden) return;
    const after = before.slice(before.indexOf(card) + 1);
    select(after[0] || visible().at(-1) || null, true);
  }

  function count() {
    const shown = visible();
    const done = cards.filter((card) => entryOf(card).decision).length;
    const nRegions = Object.keys(decisions).filter((key) => key.includes("#") && decisions[key].decision).length;
    document.getElementById("count").textContent =
      `${shown.length} of ${cards.length} films shown, ${done} reviewed, ${nRegions} regions decided`;
  }

  function applyFilters() {
    for (const card of cards) {
      card.hidden = filters.some((filter) => {
        if (!filter.value) return false;
        if (filter.dataset.filter === "decision") {
          return (entryOf(card).decision || "none") !== filter.value;
        }
        return card.dataset[filter.dataset.filter] !== filter.value;
      });
    }
    if (current && current.hidden) select(null);
    count();
  }

  const orders = {
    rank: (a, b) => a.dataset.rank - b.dataset.rank,
    drop: (a, b) => b.dataset.drop - a.dataset.drop,
    probability: (a, b) => b.dataset.probability - a.dataset.probability,
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
  };
  const sortField = document.getElementById("sort");
  function applySort() {
    const order = orders[sortField.value];
    list.append(...[...cards].sort((a, b) => order(a, b) || orders.rank(a, b)));
  }

  function select(card, scroll) {
    if (current) current.classList.remove("current");
    current = card;
    if (!card) return;
    card.classList.add("current");
    if (scroll) {
      card.focus({ preventScroll: true });
      card.scrollIntoView({ block: "start", behavior: "instant" });
    }
  }

  function step(by) {
    const shown = visible();
    if (!shown.length) return;
    const place = shown.indexOf(current);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), shown.length - 1);
    select(shown[next], true);
  }

  const zoom = document.getElementById("zoom");
  const words = { accept: "accepted", reject: "rejected", unsure: "unsure" };
  function fillZoom() {
    const copies = [...current.querySelectorAll(".pictures figure")].map((figure) => figure.cloneNode(true));
    zoom.querySelector(".pictures").replaceChildren(...copies);
    const shown = visible();
    document.getElementById("zoom-title").textContent = [
      current.dataset.name, current.querySelector(".badge").textContent,
      words[entryOf(current).decision] || "not reviewed", `${shown.indexOf(current) + 1} of ${shown.length}`,
    ].join(" · ");
  }
  function enlarge(card) {
    select(card, false);
    fillZoom();
    zoom.showModal();
  }
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
  zoom.addEventListener("close", () => { if (current) select(current, true); });

  function download(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function rows() {
    return Object.entries(decisions)
      .filter(([, entry]) => entry.decision)
      .map(([key, entry]) => ({
        image_id: key.split("#")[0], decision: entry.decision, reviewer: entry.reviewer || "", note: entry.note || "",
        ...(entry.region_index !== undefined && { region_index: entry.region_index }), ...(entry.box && { box: entry.box }),
      }))
      .sort((a, b) => (a.image_id < b.image_id ? -1 : a.image_id > b.image_id ? 1
        : (a.region_index ?? -1) - (b.region_index ?? -1)));
  }

  function exportDecisions(format) {
    sign();
    if (format === "jsonl") {
      const text = rows().map((row) => JSON.stringify(row) + "\n").join("");
      give("decisions.jsonl", "application/jsonl", text);
      return;
    }
    const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const head = ["image_id", "decision", "reviewer", "note", "region_index", "box"];
    const lines = [head, ...rows().map((row) => head.map((key) => quote(row[key] ?? "")))];
    give("decisions.csv", "text/csv", lines.map((line) => line.join(",") + "\n").join(""));
  }

  // Nobody learns whether a frame let a download through: there the text is shown to be copied.
  const sheet = document.getElementById("export");
  const sheetText = sheet.querySelector("textarea");
  function give(name, type, text) {
    if (!isFramed) {
      isExported = true;
      download(name, type, text);
      return;
    }
    sheet.querySelector("code").textContent = name;
    sheet.querySelector("output").textContent = "";
    sheetText.value = text;
    sheet.showModal();
    sheetText.select();
  }
  sheetText.addEventListener("copy", () => { isExported = true; });
  document.getElementById("copy").addEventListener("click", () => {
    sheetText.select();
    sheet.querySelector("output").textContent =
      document.execCommand("copy") ? "Copied." : "Not allowed here: press Ctrl+C or Cmd+C.";
  });

  for (const filter of filters) filter.addEventListener("change", applyFilters);
  sortField.addEventListener("change", applySort);
  for (const button of document.querySelectorAll("[data-export]")) {
    button.addEventListener("click", () => exportDecisions(button.dataset.export));
  }
  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (!card) return;
    select(card, false);
    const button = event.target.closest("[data-decide]");
    const regionButton = event.target.closest("[data-region-decide]");
    if (button) decide(card, button.dataset.decide);
    else if (regionButton) decideRegion(card, regionButton.closest(".region"), regionButton.dataset.regionDecide);
    else if (event.target.closest(".picture")) enlarge(card);
  });
  list.addEventListener("input", (event) => {
    if (!event.target.matches(".note-field")) return;
    record(event.target.closest(".card"), { note: event.target.value });
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || sheet.open) return;
    const isStep = event.key === "j" || event.key === "k";
    if (event.target.matches("input, textarea") || (event.target.matches("select") && !isStep)) {
      if (event.key === "Escape") { event.target.blur(); if (current) current.focus({ preventScroll: true }); }
      return;
    }
    const decision = { a: "accept", r: "reject", u: "unsure" }[event.key];
    const region = current && /^[1-9]$/.test(event.key) && regionsOf(current)[event.key - 1];
    if (isStep) step(event.key === "j" ? 1 : -1);
    else if (zoom.open && (event.key === "z" || event.key === "Escape")) zoom.close();
    else if (event.key === "z" && current) enlarge(current);
    else if (event.key === "b") document.body.classList.toggle("no-outlines");
    else if (event.key === "n" && current) { zoom.close(); current.querySelector(".note-field").focus(); }
    else if (decision && current) decide(current, decision);
    else if (region) stepRegion(current, region);
    else return;
    event.preventDefault();
    if (zoom.open && current) fillZoom();
    else if (zoom.open) zoom.close();
  });

  for (const card of cards) show(card);
  applyFilters();
})();
