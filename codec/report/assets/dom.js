// Small helpers to build elements; every other script of the page uses them.

const content = JSON.parse(document.getElementById("content").textContent);

/** An element with attributes (a function is a listener; null leaves an attribute out) and children. */
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same in SVG. */
function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A labelled select: options are [value, text]; `changed` gets the value. */
function select(label, options, chosen, changed) {
  const list = el("select", { change: () => changed(list.value) });
  setOptions(list, options, chosen);
  return { element: el("label", {}, label, list), list };
}

function setOptions(list, options, chosen) {
  list.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  list.value = chosen;
}

/** A labelled check box. */
function check(label, on, changed) {
  const box = el("input", { type: "checkbox", change: () => changed(box.checked) });
  box.checked = on;
  return el("label", { class: "check" }, box, label);
}

/** A button that stays pressed: `aria-pressed` says whether. */
function toggle(children, on, changed, attributes = {}) {
  const button = el("button", { type: "button", "aria-pressed": String(on), ...attributes }, ...children);
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(now));
    changed(now);
  });
  return button;
}

/** Numbers with `digits` significant digits and no exponent. */
function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  return String(Number(Number(value).toPrecision(digits))).replace("-", "−");
}

function signed(value, digits = 3) {
  return (value > 0 ? "+" : "") + number(value, digits);
}

const MARKERS = [
  (x, y, r) => svg("circle", { cx: x, cy: y, r }),
  (x, y, r) => svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r }),
  (x, y, r) => svg("path", { d: `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.2 * r}h${-2.4 * r}z` }),
  (x, y, r) => svg("path", { d: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z` }),
  (x, y, r) => svg("path", { d: `M${x} ${y + 1.2 * r}l${1.2 * r} ${-2.2 * r}h${-2.4 * r}z` }),
];

/** The mark of codec number `index`, in its colour. */
function marker(index, x, y, r) {
  const mark = MARKERS[index % MARKERS.length](x, y, r);
  mark.setAttribute("fill", colour(index));
  mark.setAttribute("stroke", "var(--paper)");
  return mark;
}

function colour(index) {
  return `var(--c${index % 8})`;
}

/** Codecs beyond the eighth share colours and are told apart by dashes. */
function dashes(index) {
  return index < 8 ? null : "6 3";
}
