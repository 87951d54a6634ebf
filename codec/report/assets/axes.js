// Ticks and kinds of axes.

const STEPS = [1, 2, 5];
/** Ticks of a linear axis: at most `most` round values inside low..high. */
function linearTicks(low, high, most) {
  let step = 10 ** Math.floor(Math.log10((high - low) / most || 1));
  for (const factor of [1, 2, 5, 10]) if ((high - low) / (step * factor) <= most) { step *= factor; break; }
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Round values 1, 2, 5 of every decade inside low..high (both above 0), thinned to `most`. */
function logTicks(low, high, most) {
  const all = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.log10(high); decade++)
    for (const step of STEPS) all.push(Number((step * 10 ** decade).toPrecision(12)));
  const inside = all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  if (inside.length < 2) return linearTicks(low, high, most);
  const every = Math.ceil(inside.length / most);
  return inside.filter((_, index) => (inside.length - 1 - index) % every === 0);
}

/** Where values of a metric lie, and which values to write there: the axis of BD-rate, labelled in the metric itself. */
const KINDS = {
  plain: { ticks: linearTicks, at: (value) => value },
  distance: {
    ticks: (low, high, most) => logTicks(10 ** (-high / 10), 10 ** (-low / 10), most),
    at: (value) => -10 * Math.log10(value),
  },
  similarity: {
    ticks: (low, high, most) => logTicks(10 ** (-high / 10), 10 ** (-low / 10), most).map((d) => Number((1 - d).toPrecision(10))),
    at: (value) => -10 * Math.log10(1 - value),
  },
};

KINDS.decades = { ticks: (low, high, most) => logTicks(10 ** low, 10 ** high, most), at: Math.log10 };
