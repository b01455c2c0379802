"use strict";
// The scatter plot: probability of a film as it is and without its text; a point is a film.
const scatter = (() => {
  const plot = document.getElementById("scatter");
  if (!plot) return null;
  const dots = new Map([...plot.querySelectorAll("circle")].map((dot) => [dot.dataset.card, dot]));
  const [left, right, top, bottom] = [40, 310, 10, 280];  // of the plot, as in films.html
  const brush = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  brush.classList.add("brush");
  let marked = null;

  function place(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    return { x: Math.min(Math.max(x, left), right), y: Math.min(Math.max(y, top), bottom) };
  }
  function span(a, b, toShare) {
    const [low, high] = [toShare(a), toShare(b)].sort((one, other) => one - other);
    return { low: Math.floor(low * 1000) / 1000, high: Math.ceil(high * 1000) / 1000 };
  }

  /** ``onPick`` gets the number of a film, ``onBrush`` the limits of a rectangle. */
  function watch(onPick, onBrush) {
    let start = null;
    plot.addEventListener("pointerdown", (event) => {
      start = place(event);
      plot.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    plot.addEventListener("pointermove", (event) => {
      if (!start) return;
      const end = place(event);
      const box = { x: Math.min(start.x, end.x), y: Math.min(start.y, end.y), width: Math.abs(end.x - start.x), height: Math.abs(end.y - start.y) };
      for (const [name, value] of Object.entries(box)) brush.setAttribute(name, value);
      plot.append(brush);
    });
    plot.addEventListener("pointercancel", () => { start = null; brush.remove(); });
    plot.addEventListener("pointerup", (event) => {
      if (!start) return;
      const from = start, end = place(event);
      start = null;
      brush.remove();
      if (Math.hypot(from.x - end.x, from.y - end.y) >= 4) {
        onBrush({
          probability: span(from.x, end.x, (x) => (x - left) / (right - left)),
          without: span(from.y, end.y, (y) => (bottom - y) / (bottom - top)),
        });
        return;
      }
      const distance = (dot) => Math.hypot(dot.getAttribute("cx") - end.x, dot.getAttribute("cy") - end.y);
      const [nearest] = [...dots.values()].filter((dot) => distance(dot) < 9).sort((a, b) => distance(a) - distance(b));
      if (nearest) onPick(nearest.dataset.card);
    });
  }

  function fade(number, isFaded) { dots.get(number)?.classList.toggle("off", isFaded); }
  function mark(number) {
    marked?.classList.remove("here");
    marked = dots.get(number);
    if (!marked) return;
    marked.classList.add("here");
    plot.append(marked);  // above the others
  }

  return { watch, fade, mark };
})();
