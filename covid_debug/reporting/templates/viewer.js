"use strict";
// The picture of a film: its layers, zoom and pan, and one film that fills the window.
const viewer = (() => {
  const list = document.getElementById("card-list");
  if (!list) return null;
  const opacity = document.getElementById("opacity");
  const most = 16;
  let stage = null;  // the zoomed one
  let zoom = 1, x = 0, y = 0;  // x, y in pixels of the page, from the middle

  function place() {
    const room = [stage.clientWidth, stage.clientHeight].map((side) => ((zoom - 1) * side) / 2);
    x = Math.min(Math.max(x, -room[0]), room[0]);
    y = Math.min(Math.max(y, -room[1]), room[1]);
    const layers = stage.querySelector(".layers");
    layers.style.transform = zoom > 1 ? `translate(${x}px, ${y}px) scale(${zoom})` : "";
    layers.style.setProperty("--zoom", zoom);
    stage.classList.toggle("close", zoom > 1);
  }

  function reset() {
    if (stage) { zoom = 1; place(); }
    stage = null;
    zoom = 1; x = 0; y = 0;
  }

  function take(other) {
    if (other === stage) return;
    reset();
    stage = other;
  }

  /** Zoom about a point of the window, by default the middle of the picture. */
  function zoomBy(target, factor, at) {
    if (!target.querySelector(".layers")) return;
    take(target);
    const box = stage.getBoundingClientRect();
    const px = at ? at.x - box.x - box.width / 2 : 0, py = at ? at.y - box.y - box.height / 2 : 0;
    const next = Math.min(Math.max(zoom * factor, 1), most);
    x = px - ((px - x) * next) / zoom;
    y = py - ((py - y) * next) / zoom;
    zoom = next;
    place();
  }

  function panBy(dx, dy) {
    if (!stage || zoom === 1) return false;
    x += dx;
    y += dy;
    place();
    return true;
  }

  const isFull = () => document.body.classList.contains("full");

  // In the list the wheel scrolls the page and, with Ctrl, zooms; a film that fills the window has
  // nothing to scroll.
  list.addEventListener("wheel", (event) => {
    const target = event.target.closest(".stage");
    if (!target || !(isFull() || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    zoomBy(target, 1.0015 ** -event.deltaY, event);
  }, { passive: false });

  let drag = null;
  list.addEventListener("pointerdown", (event) => {
    const target = event.target.closest(".stage");
    if (!target || event.button) return;
    drag = { x: event.clientX, y: event.clientY, moved: 0 };
    if (target === stage && zoom > 1) target.setPointerCapture(event.pointerId);
  });
  list.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag = { x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(dx) + Math.abs(dy) };
    panBy(dx, dy);
  });

  // One map lies over every film, by its method's place in the audit; the slider at 0 shows none.
  const titles = list.dataset.maps.split("|").filter(Boolean);
  const name = document.getElementById("map-name");
  let shown = opacity.value;
  function showMap(number) {
    if (titles[number - 1]) list.dataset.map = number;
    const isOn = Number(opacity.value) > 0;
    if (titles.length) name.textContent = `Map: ${isOn ? titles[list.dataset.map - 1] : "none"}`;
    for (const button of list.querySelectorAll(".pick")) {
      button.setAttribute("aria-pressed", String(isOn && button.dataset.pick === list.dataset.map));
    }
  }
  function setOpacity(percent = opacity.defaultValue) {
    opacity.value = percent;
    list.style.setProperty("--map-opacity", percent / 100);
    showMap(list.dataset.map);
  }
  function pickMap(number) {
    if (!Number(opacity.value)) setOpacity(Number(shown) || opacity.defaultValue);
    showMap(number);
  }
  function stepMap() {
    const next = Number(opacity.value) ? Number(list.dataset.map) + 1 : 1;
    if (next > 1 && next > titles.length) setOpacity(0);
    else pickMap(next);
  }
  opacity.addEventListener("input", () => { shown = opacity.value; setOpacity(shown); });
  showMap(1);

  return {
    reset, zoomBy, panBy, isFull, setOpacity,
    wasDragged: () => drag !== null && drag.moved > 4,
    stepMap, pickMap, showMap,
    opacity: () => opacity.value,
    map: () => list.dataset.map,
  };
})();
