"use strict";
// The list of films: which are shown, which one is current, buttons and keys.
(() => {
  if (!viewer) return;
  const byName = (id) => document.getElementById(id);
  const list = byName("card-list");
  const cards = [...list.querySelectorAll(".card")];
  const cardOf = new Map(cards.map((card) => [card.dataset.id, card]));
  const choices = [...document.querySelectorAll("[data-filter]")];
  const ranges = [...document.querySelectorAll("[data-range]")];
  const search = byName("search"), sort = byName("sort"), advance = byName("advance"), reviewer = byName("reviewer");
  const stateKey = document.body.dataset.reportKey + ":view";
  const numberOf = (card, name) => (card.dataset[name] === "" ? NaN : Number(card.dataset[name]));
  const controls = "button, input, summary";
  let current = null;

  const say = (text) => { byName("said").textContent = text; };
  const regionsOf = (card) => [...card.querySelectorAll(".region")];
  const keyOf = (card, region) => `${card.dataset.id}#${region.dataset.region}`;
  const decisionOf = (card) => decisions.of(card.dataset.id).decision || "";
  const words = { accept: "accepted", reject: "rejected", unsure: "unsure" };

  // ---- what a card shows of its decisions

  function show(card) {
    const entry = decisions.of(card.dataset.id);
    card.querySelector(".decided").textContent = words[entry.decision] || "";
    for (const button of card.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decide === entry.decision));
    }
    for (const region of regionsOf(card)) {
      const state = decisions.of(keyOf(card, region)).decision || "";
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

  // ---- which films are shown

  const visible = () => [...list.children].filter((card) => !card.hidden);
  const texts = new Map();  // made at the first search
  function textOf(card) {
    if (!texts.has(card)) {
      const parts = [card.dataset.id, ...[...card.querySelectorAll("header, .reasons, .region > span:first-of-type, dd")].map((part) => part.textContent)];
      texts.set(card, parts.join(" ").toLowerCase());
    }
    return texts.get(card) + " " + (decisions.of(card.dataset.id).note || "").toLowerCase();
  }

  function passes(card, wanted, limits, terms) {
    return wanted.every(([name, value]) =>
      (name === "decision" ? decisionOf(card) || "none" : card.dataset[name]) === value)
      && limits.every(([name, side, limit]) => {
        const value = numberOf(card, name);  // a film without the number passes no limit
        return side === "low" ? value >= limit : value <= limit;
      })
      && (!terms.length || terms.every((word) => textOf(card).includes(word)));
  }

  /** Hide what does not pass; where that hides the current film, ``next`` takes its place. */
  function applyFilters(next = null) {
    const wanted = choices.filter((field) => field.value).map((field) => [field.dataset.filter, field.value]);
    const limits = ranges.filter((field) => field.value !== "").map((field) => [field.dataset.range, field.dataset.side, Number(field.value)]);
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of cards) {
      const isHidden = !passes(card, wanted, limits, terms);
      if (isHidden === card.hidden) continue;
      card.hidden = isHidden;
      scatter.fade(card.dataset.rank, isHidden);
    }
    if (current && current.hidden) select(next, next !== null);
    count();
  }

  function count() {
    const n = visible().length;
    const done = cards.filter(decisionOf).length;
    byName("none").hidden = n > 0;
    byName("count").textContent =
      `${n} of ${cards.length} films · ${done} reviewed · ${decisions.countRegions()} regions`;
    byName("undo").disabled = !decisions.canUndo();
  }

  function clearFilters() {
    for (const field of [...choices, ...ranges, search]) field.value = "";
    applyFilters();
  }

  const orders = {
    rank: () => 0,
    drop: (a, b) => numberOf(b, "drop") - numberOf(a, "drop"),
    probability: (a, b) => numberOf(b, "probability") - numberOf(a, "probability"),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
  };
  function applySort() {
    const order = orders[sort.value];
    const known = cards.filter((card) => sort.value !== "drop" || card.dataset.drop !== "");
    const rank = (a, b) => a.dataset.rank - b.dataset.rank;
    list.append(...known.sort((a, b) => order(a, b) || rank(a, b)), ...cards.filter((card) => !known.includes(card)).sort(rank));
  }

  // ---- the current film; only its controls are tab stops

  function setStops(card, isCurrent) {
    card.tabIndex = isCurrent ? 0 : -1;
    for (const control of card.querySelectorAll(controls)) control.tabIndex = isCurrent ? 0 : -1;
  }

  function select(card, scroll) {
    if (current && current !== card) {
      current.classList.remove("current", "cleaned");
      setStops(current, false);
      viewer.reset();
    }
    const isNew = card !== current;
    current = card;
    showToggles();
    if (!card) {
      scatter.mark(null);
      fill(false);
      cards[0].tabIndex = 0;
      return;
    }
    if (isNew) {
      card.classList.add("current");
      scatter.mark(card.dataset.rank);
      setStops(card, true);
    }
    if (!scroll) return;
    card.focus({ preventScroll: true });
    if (!viewer.isFull()) card.scrollIntoView({ block: isGrid() ? "nearest" : "start", behavior: "instant" });
  }

  function step(by) {
    const shown = visible();
    if (!shown.length) return;
    const place = shown.indexOf(current);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), shown.length - 1);
    select(shown[next], true);
  }

  /** Show a film wherever it is, past the filters if need be. */
  function open(card) {
    if (card.hidden) { clearFilters(); say("filters cleared"); }
    select(card, true);
  }

  const isGrid = () => list.classList.contains("grid");
  function fill(isFull) {
    if (isFull === viewer.isFull()) return;
    viewer.reset();
    document.body.classList.toggle("full", isFull);
    showToggles();
    if (current) select(current, true);
  }
  function showToggles() {
    const states = { c: current?.classList.contains("cleaned"), b: !document.body.classList.contains("no-outlines"), z: viewer.isFull(), g: isGrid() };
    for (const [key, state] of Object.entries(states)) {
      document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", String(Boolean(state)));
    }
  }

  // ---- decisions

  // The reviewer is asked before the first decision, which then is carried out.
  let isAsked = false;
  function withReviewer(go) {
    if (isAsked || decisions.reviewer()) { go(); return; }
    page.ask(byName("who"), (answer) => {
      isAsked = true;
      if (answer === "yes") { reviewer.value = byName("who-name").value; decisions.sign(reviewer.value); }
      go();
    });
  }

  function record(changes) {
    decisions.change(changes);
    for (const [key] of changes) show(cardOf.get(key.split("#")[0]));
  }

  function decide(card, decision) {
    const shown = visible(), place = shown.indexOf(card);
    const made = decisionOf(card) === decision ? "" : decision;
    record([[card.dataset.id, { decision: made }]]);
    say(`${card.dataset.name}: ${words[made] || "decision taken back"}`);
    applyFilters(shown[place + 1] || shown[place - 1]);
    if (made && advance.checked && card === current) select(shown[place + 1] || card, true);
  }

  function decideRegion(card, region, decision) {
    const key = keyOf(card, region);
    record([[key, {
      decision: decisions.of(key).decision === decision ? "" : decision,
      region_index: Number(region.dataset.region),
      box: region.dataset.box.split(",").map(Number),
    }]]);
    count();
  }

  function stepRegion(card, region) {
    const steps = ["accept", "keep", "reject"];
    const now = decisions.of(keyOf(card, region)).decision;
    decideRegion(card, region, steps[steps.indexOf(now) + 1] || now);  // the last step takes it back
  }

  function decideAll(decision) {
    const shown = visible(), left = shown.filter((card) => !decisionOf(card));
    const dialog = byName("sure");
    const n = `${left.length} film${left.length === 1 ? "" : "s"}`;
    dialog.querySelector("h3").textContent = `${{ accept: "Accept the verdict on", reject: "Reject the verdict on", unsure: "Be unsure about" }[decision]} ${n}?`;
    dialog.querySelector("p").textContent = shown.length === left.length ? "Undo takes all of it back."
      : `${shown.length - left.length} of the ${shown.length} films shown are decided already and stay as they are. Undo takes the others back.`;
    dialog.querySelector('[data-close="yes"]').disabled = !left.length;
    page.ask(dialog, (answer) => {
      if (answer !== "yes" || !left.length) return;
      record(left.map((card) => [card.dataset.id, { decision }]));
      say(`${n}: ${words[decision]}`);
      applyFilters();
    });
  }

  function undo() {
    if (!decisions.canUndo()) return;
    // A decision that came with the report may be about a film without a card.
    const changed = [...new Set(decisions.undo().map((key) => cardOf.get(key.split("#")[0])))].filter(Boolean);
    changed.forEach(show);
    applyFilters();
    say(changed.length === 1 ? `${changed[0].dataset.name}: undone` : `${changed.length} films: undone`);
    if (!changed[0].hidden) select(changed[0], true);
  }

  // ---- place, filters and sorting outlive a reload

  const fields = [...choices, ...ranges, search, sort];
  const nameOf = (field) => field.id || field.dataset.filter || `${field.dataset.range}-${field.dataset.side}`;
  const isInList = () => list.getBoundingClientRect().top < window.innerHeight / 2;
  function keepState() {
    page.save(stateKey, JSON.stringify({
      fields: Object.fromEntries(fields.map((field) => [nameOf(field), field.value])),
      advance: advance.checked, opacity: viewer.opacity(), map: viewer.map(), grid: isGrid(), full: viewer.isFull(),
      outlines: !document.body.classList.contains("no-outlines"), current: current?.dataset.id, inList: isInList(),
    }));
  }
  function restoreState() {
    let state = null;
    try { state = JSON.parse(page.load(stateKey)); } catch { /* damaged: as if opened for the first time */ }
    if (state) {
      for (const field of fields) field.value = state.fields?.[nameOf(field)] ?? field.value;
      for (const field of [...choices, sort]) if (field.selectedIndex < 0) field.selectedIndex = 0;
      advance.checked = state.advance !== false;
      viewer.setOpacity(state.opacity);
      viewer.showMap(state.map);
      list.classList.toggle("grid", Boolean(state.grid));
      document.body.classList.toggle("no-outlines", state.outlines === false);
    }
    if (sort.value !== "rank") applySort();
    applyFilters();
    const isReload = performance.getEntriesByType("navigation")[0]?.type === "reload";
    const card = state && cardOf.get(state.current);
    if (card && !card.hidden) {
      select(card, isReload && state.inList);
      if (isReload && state.full) fill(true);
    }
    if (isReload && state?.inList) history.scrollRestoration = "manual";
  }
  window.addEventListener("pagehide", keepState);

  // ---- the scatter plot: a point opens its film, a rectangle sets the number fields

  scatter.watch((number) => open(byName("film-" + number)), (limits) => {
    for (const field of ranges) {
      const limit = limits[field.dataset.range]?.[field.dataset.side];
      if (limit !== undefined) field.value = limit;
    }
    applyFilters();
  });

  // ---- buttons and keys

  for (const field of [...choices, ...ranges, search]) {
    field.addEventListener(field.matches("select") ? "change" : "input", () => applyFilters());
  }
  sort.addEventListener("change", applySort);
  reviewer.value = decisions.reviewer();
  reviewer.addEventListener("change", () => decisions.sign(reviewer.value));
  byName("undo").addEventListener("click", undo);
  for (const button of document.querySelectorAll("[data-clear]")) button.addEventListener("click", clearFilters);
  for (const button of document.querySelectorAll("[data-all]")) button.addEventListener("click", () => withReviewer(() => decideAll(button.dataset.all)));
  for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => decisions.give(button.dataset.export));
  for (const button of document.querySelectorAll("[data-key]")) button.addEventListener("click", () => press(button.dataset.key));
  byName("export").addEventListener("click", (event) => { if (event.target.dataset.close) byName("export").close(); });
  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (!card) return;
    select(card, false);
    const button = event.target.closest("[data-decide]");
    const regionButton = event.target.closest("[data-region-decide]");
    const pick = event.target.closest(".pick");
    if (pick) viewer.pickMap(pick.dataset.pick);
    else if (button) withReviewer(() => decide(card, button.dataset.decide));
    else if (regionButton) {
      withReviewer(() => decideRegion(card, regionButton.closest(".region"), regionButton.dataset.regionDecide));
    } else if (event.target.closest(".stage") && !viewer.wasDragged() && !viewer.isFull()) fill(true);
  });
  list.addEventListener("input", (event) => {
    if (!event.target.matches(".note-field")) return;
    decisions.change([[event.target.closest(".card").dataset.id, { note: event.target.value }]], false);
  });
  document.addEventListener("click", (event) => {
    const card = byName(event.target.closest('a[href^="#film-"]')?.hash.slice(1));
    if (card) { event.preventDefault(); open(card); }
  });

  const decisionKeys = { a: "accept", r: "reject", u: "unsure" };
  const arrows = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  /** Do what a key means; returns whether it means anything here. */
  function press(key) {
    const region = current && /^[1-9]$/.test(key) && regionsOf(current)[key - 1];
    const stage = current && current.querySelector(".stage");
    if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
    else if (key === "/") { search.focus(); search.select(); }
    else if (key === "g") {
      fill(false);
      list.classList.toggle("grid");
      if (current) select(current, true);
    } else if (key === "b") document.body.classList.toggle("no-outlines");
    else if (key === "m") viewer.stepMap();
    else if (key === "Escape" && viewer.isFull()) fill(false);
    else if (key === "z") { if (!current) step(0); fill(!viewer.isFull()); }
    else if (!current) return false;
    else if (key === "c") {
      current.classList.toggle("cleaned");
      say(`${current.dataset.name}: ${current.classList.contains("cleaned") ? "cleaned" : "original"}`);
    } else if (key === "n") current.querySelector(".note-field").focus();
    else if (key === "+" || key === "=") viewer.zoomBy(stage, 1.5);
    else if (key === "-") viewer.zoomBy(stage, 1 / 1.5);
    else if (key === "0") viewer.reset();
    else if (arrows[key]) return viewer.panBy(...arrows[key]);
    else if (decisionKeys[key]) { const card = current; withReviewer(() => decide(card, decisionKeys[key])); }
    else if (region) { const card = current; withReviewer(() => stepRegion(card, region)); }
    else return false;
    showToggles();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const isField = event.target.matches("textarea, input:not([type=range], [type=checkbox])");
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !isField) {
      event.preventDefault();
      undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isStep = event.key === "j" || event.key === "k";
    if (isField || (event.target.matches("select") && !isStep)) {
      if (event.key === "Escape") { event.target.blur(); if (current) current.focus({ preventScroll: true }); }
      return;
    }
    if (event.target.matches("[type=range]") && arrows[event.key]) return;
    if (press(event.key)) event.preventDefault();
  });

  // The bar sticks above the films: a film starts below it.
  const bar = document.querySelector(".toolbar");
  const makeRoom = () => list.style.setProperty("--bar", `${bar.offsetHeight + 6}px`);
  makeRoom();
  new ResizeObserver(makeRoom).observe(bar);

  // Two reviewers: what this browser keeps covers what came with the report, and the page says so.
  const differing = decisions.findDiffering();
  byName("differ-note").hidden = !differing.length;
  byName("differ-count").textContent = differing.length;
  byName("differ-take").addEventListener("click", () => {
    decisions.takeGiven(differing);
    byName("differ-note").hidden = true;
    cards.forEach(show);
    applyFilters();
  });

  for (const fold of list.querySelectorAll("summary")) fold.tabIndex = -1;  // the page has the others so
  for (const card of cards) if (decisions.touches(card.dataset.id)) show(card);
  cards[0].tabIndex = 0;
  restoreState();
  const linked = byName(location.hash.slice(1));
  if (linked?.matches(".card")) open(linked);
})();
