"use strict";
// What reviewers decided: kept in the browser, undone, signed, exported. Knows no card.
const decisions = (() => {
  const given = JSON.parse(document.getElementById("decisions").textContent);
  const storageKey = document.body.dataset.reportKey;
  // A decision about a film is kept under its id, one about a region under "<id>#<place>".
  const entries = { ...given };
  const past = [];  // what undo puts back, a list a step
  let reviewer = page.load("reviewer") || "";
  let isExported = true;

  try {
    Object.assign(entries, JSON.parse(page.load(storageKey) || "{}"));
  } catch { /* a damaged entry is ignored; the next decision overwrites it */ }
  for (const key of Object.keys(entries)) if (!entries[key]) delete entries[key];

  function keep() {
    const takenBack = Object.keys(given).filter((key) => !entries[key]).map((key) => [key, null]);
    page.save(storageKey, JSON.stringify({ ...Object.fromEntries(takenBack), ...entries }));
  }

  function put(key, entry) {
    if (entry && (entry.decision || entry.note)) entries[key] = entry;
    else delete entries[key];
  }

  /** Change several entries as one step: pairs of a key and what changes there. */
  function change(changes, isStep = true) {
    if (isStep) past.push(changes.map(([key]) => [key, entries[key]]));
    for (const [key, change] of changes) {
      const old = entries[key];
      const isNote = change.decision === undefined && old?.decision;  // a decision stays its reviewer's
      put(key, { decision: "", note: "", ...old, ...change, reviewer: isNote ? old.reviewer : reviewer });
    }
    isExported = false;
    keep();
  }

  /** Take the last step back; returns the keys that changed. */
  function undo() {
    const step = past.pop() || [];
    for (const [key, entry] of step) put(key, { decision: "", reviewer, ...entry, note: entries[key]?.note ?? "" });
    isExported = false;
    keep();
    return step.map(([key]) => key);
  }

  // Decisions made here before the name was typed are the reviewer's too; those that came with the
  // report are not.
  function sign(name) {
    reviewer = name;
    page.save("reviewer", name);
    for (const [key, entry] of Object.entries(entries)) {
      if (!entry.reviewer && JSON.stringify(entry) !== JSON.stringify(given[key])) entry.reviewer = name;
    }
    keep();
  }

  function rows() {
    return Object.entries(entries)
      .filter(([, entry]) => entry.decision)
      .map(([key, entry]) => ({
        image_id: key.split("#")[0], decision: entry.decision, reviewer: entry.reviewer || "", note: entry.note || "",
        ...(entry.region_index !== undefined && { region_index: entry.region_index }), ...(entry.box && { box: entry.box }),
      }))
      .sort((a, b) => (a.image_id < b.image_id ? -1 : a.image_id > b.image_id ? 1
        : (a.region_index ?? -1) - (b.region_index ?? -1)));
  }

  function write(format) {
    if (format === "jsonl") return rows().map((row) => JSON.stringify(row) + "\n").join("");
    const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const head = ["image_id", "decision", "reviewer", "note", "region_index", "box"];
    return [head, ...rows().map((row) => head.map((key) => quote(row[key] ?? "")))]
      .map((line) => line.join(",") + "\n").join("");
  }

  function download(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // Nobody learns whether a frame let a download through: there the text is shown to be copied.
  function give(format) {
    const name = "decisions." + format;
    if (!page.isFramed) {
      isExported = true;
      download(name, format === "csv" ? "text/csv" : "application/jsonl", write(format));
      return;
    }
    sheet.querySelector("code").textContent = name;
    sheet.querySelector("output").textContent = "";
    sheetText.value = write(format);
    sheet.showModal();
    sheetText.select();
  }
  const sheet = document.getElementById("export");
  const sheetText = sheet && sheet.querySelector("textarea");
  if (sheet) {
    sheetText.addEventListener("copy", () => { isExported = true; });
    document.getElementById("copy").addEventListener("click", () => {
      sheetText.select();
      sheet.querySelector("output").textContent =
        document.execCommand("copy") ? "Copied." : "Not allowed here: press Ctrl+C or Cmd+C.";
    });
  }
  window.addEventListener("beforeunload", (event) => {
    if (!page.isStored() && !isExported) event.preventDefault();
  });

  /** Keys where this browser keeps another decision than came with the report. */
  const findDiffering = () => Object.keys(given).filter((key) => given[key].decision !== (entries[key]?.decision || ""));
  function takeGiven(keys) {
    past.push(keys.map((key) => [key, entries[key]]));
    for (const key of keys) entries[key] = given[key];
    keep();
  }

  const touched = new Set(Object.keys(entries).map((key) => key.split("#")[0]));  // when the page was opened

  return {
    touches: (id) => touched.has(id),
    findDiffering, takeGiven,
    of: (key) => entries[key] || {},
    change, undo, sign, give,
    canUndo: () => past.length > 0,
    reviewer: () => reviewer,
    countRegions: () => Object.keys(entries).filter((key) => key.includes("#") && entries[key].decision).length,
  };
})();
