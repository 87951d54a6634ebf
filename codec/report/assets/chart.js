// A line chart in SVG: hover and arrow keys tell values, axes are linear or logarithmic.

const MARGIN = { top: 10, right: 14, bottom: 44, left: 58 };

/**
 * Draws into `host`. `plan()` gives { label, x: {title, log, from?}, y: {title, kind, include?}, series, height? }; a series is
 * { name, index, points: [{x, y, text}], marks, line, level? }: y lies on the axis of its kind; `level` draws a flat line.
 */
function chart(host, plan) {
  const tip = el("div", { class: "tip", hidden: "" });
  const said = el("div", { class: "unseen", "aria-live": "polite" });
  let spots = [];
  let at = null;

  function draw() {
    const width = Math.max(280, host.clientWidth);
    host.replaceChildren(tip, said);
    tip.hidden = true;
    at = null;
    const drawing = plan();
    const picture = plot(drawing, width, drawing.height ?? Math.round(Math.min(460, Math.max(300, width * 0.5))));
    spots = picture.spots;
    picture.element.addEventListener("pointermove", (event) => tell(nearest(event), false));
    picture.element.addEventListener("pointerleave", () => tell(null));
    picture.element.addEventListener("blur", () => tell(null));
    picture.element.addEventListener("keydown", (event) => walk(event));
    host.prepend(picture.element);
  }

  function nearest(event) {
    const box = host.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const far = (spot) => Math.hypot(spot.x - x, spot.y - y);
    const best = spots.reduce((one, other) => (one === null || far(other) < far(one) ? other : one), null);
    return best && far(best) < 60 ? best : null;
  }

  function walk(event) {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") return tell(null);
    if (!steps || !spots.length) return undefined;
    event.preventDefault();
    const names = [...new Set(spots.map((spot) => spot.series))];
    if (!at) return tell(spots[0], true);
    const series = names[(names.indexOf(at.series) + steps[1] + names.length) % names.length];
    const own = spots.filter((spot) => spot.series === series);
    const rank = spots.filter((spot) => spot.series === at.series).indexOf(at);
    return tell(own[Math.min(own.length - 1, Math.max(0, rank + steps[0]))], true);
  }

  function tell(spot, aloud) {
    at?.mark.removeAttribute("transform");
    at?.mark.setAttribute("stroke", "var(--paper)");
    at = spot;
    tip.hidden = !spot;
    if (!spot) return;
    spot.mark.setAttribute("stroke", "var(--ink)");
    tip.textContent = spot.text;
    if (aloud) said.textContent = spot.text.replaceAll("\n", ", ");
    const left = spot.x + 14 + tip.offsetWidth > host.clientWidth ? spot.x - 14 - tip.offsetWidth : spot.x + 14;
    tip.style.left = `${Math.max(0, Math.min(left, host.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, spot.y - tip.offsetHeight - 8)}px`;
  }

  let last = 0;
  new ResizeObserver(() => {
    if (host.clientWidth !== last) { last = host.clientWidth; draw(); }
  }).observe(host);
  return { draw };
}

/** The picture of a plan, and where its points lie in it. */
function plot(plan, width, height) {
  const element = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "application", tabindex: 0, "aria-label": `${plan.label}. Arrow keys walk along the points.` });
  const points = plan.series.flatMap((series) => series.points);
  const levels = plan.series.filter((series) => series.level !== undefined).map((series) => series.level);
  if (!points.length && !levels.length) {
    element.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, plan.empty ?? "nothing to draw"));
    return { element, spots: [] };
  }
  const forward = plan.x.log ? Math.log10 : (value) => value;
  const [x0, x1] = padded(points.map((p) => forward(p.x)).concat((plan.x.include ?? []).map(forward)));
  const [y0, y1] = padded(points.map((p) => p.y).concat(levels, plan.y.include ?? []));
  const px = (value) => MARGIN.left + ((forward(value) - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const py = (value) => height - MARGIN.bottom - ((value - y0) / (y1 - y0)) * (height - MARGIN.top - MARGIN.bottom);
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  drawAxes(element, plan, area, { x0, x1, y0, y1, px, py });
  return { element, spots: plan.series.flatMap((series) => drawSeries(element, series, px, py, area)) };
}

function padded(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

function drawAxes(element, plan, area, { x0, x1, y0, y1, px, py }) {
  const most = Math.max(3, Math.floor((area.right - area.left) / 75));
  const inX = plan.x.log ? logTicks(10 ** x0, 10 ** x1, most) : linearTicks(x0, x1, most);
  for (const value of plan.x.whole ? inX.filter(Number.isInteger) : inX) {
    const x = px(value);
    element.append(svg("line", { class: "gridline", x1: x, x2: x, y1: area.top, y2: area.bottom }));
    element.append(svg("text", { x, y: area.bottom + 16, "text-anchor": "middle" }, number(value)));
  }
  const kind = KINDS[plan.y.kind ?? "plain"];
  for (const value of kind.ticks(y0, y1, 7)) {
    const y = py(kind.at(value));
    element.append(svg("line", { class: "gridline", x1: area.left, x2: area.right, y1: y, y2: y }));
    element.append(svg("text", { x: area.left - 7, y: y + 4, "text-anchor": "end" }, number(value, 6)));
  }
  element.append(svg("path", { class: "frame", d: `M${area.left} ${area.top}V${area.bottom}H${area.right}` }));
  const middle = (area.top + area.bottom) / 2;
  element.append(svg("text", { class: "axis", x: (area.left + area.right) / 2, y: area.bottom + 36, "text-anchor": "middle" }, plan.x.title));
  element.append(svg("text", { class: "axis", transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, plan.y.title));
}

function drawSeries(element, series, px, py, area) {
  const look = { fill: "none", stroke: colour(series.index), "stroke-width": 2, "stroke-dasharray": series.dashed ? "4 4" : dashes(series.index) };
  const group = svg("g", { "data-series": series.name });
  element.append(group);
  if (series.level !== undefined) {
    const y = py(series.level);
    group.append(svg("line", { ...look, x1: area.left, x2: area.right, y1: y, y2: y, "stroke-dasharray": "4 4" }));
    group.append(svg("text", { class: "name", x: area.right - 4, y: y - 5, "text-anchor": "end" }, series.name));
    return [];
  }
  const places = series.points.map((point) => ({ x: px(point.x), y: py(point.y), text: point.text, series: series.name }));
  if (series.line !== false && places.length) group.append(svg("path", { ...look, d: "M" + places.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join("L") }));
  for (const place of places) {
    place.mark = marker(series.index, place.x, place.y, series.radius ?? 4.5);
    group.append(place.mark);
    if (series.named) group.append(svg("text", { class: "name", x: place.x, y: place.y - 10, "text-anchor": "middle" }, series.name));
  }
  return places;
}
