// RD curves: one clip or the mean, one metric, names that hide and show their curve.

const metricNames = Object.keys(content.metrics);

/** The points of a codec on a clip in the tuning that is fair to the metric, by rate. */
function curvePoints(codec, clip, metric) {
  const tune = content.metrics[metric].tune;
  const own = content.points.filter((p) => p.codec === codec && p.clip === clip && (p.tune === null || p.tune === tune));
  const placed = own.filter((p) => (p.places[metric] ?? null) !== null);
  return placed.sort((one, other) => one.bpp - other.bpp);
}

/** The clips that a mean in a metric is over: those on which every codec that was measured here and has the metric has it. */
function clipsWith(metric) {
  const has = (codec, clip) => curvePoints(codec, clip, metric).length > 0;
  const scored = content.codecs.filter((codec) => content.clips.some((clip) => has(codec, clip)));
  const own = scored.filter((codec) => content.points.some((p) => p.codec === codec && !p.imported));
  return content.clips.filter((clip) => (own.length ? own : scored).every((codec) => has(codec, clip)));
}

/** The mean over clips at equal quality setting: geometric in rate. Only settings that every clip has. */
function meanPoints(codec, metric, clips) {
  const curves = clips.map((clip) => curvePoints(codec, clip, metric));
  const qualities = (curves[0] ?? []).map((p) => p.quality).filter((q) => curves.every((c) => c.some((p) => p.quality === q)));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const all = qualities.map((quality) => {
    const points = curves.map((curve) => curve.find((p) => p.quality === quality));
    const of = (get) => mean(points.map(get));
    const bpp = Math.exp(of((p) => Math.log(p.bpp)));
    return { codec, quality, bpp, kbps: Math.exp(of((p) => Math.log(p.kbps))), places: { [metric]: of((p) => p.places[metric]) },
      values: { [metric]: of((p) => p.values[metric]) } };
  });
  return all.sort((one, other) => one.bpp - other.bpp);
}

/** What the mean curve is, and over how many clips. */
function meanLine(metric, clips) {
  const all = content.clips.length;
  const over = clips.length < all ? ` The mean is over ${clips.length} of ${all} clips: not every codec has ${content.metrics[metric].title} on the others.` : "";
  return `${over} The mean curve is a picture only: BD-rate is computed clip by clip, then averaged.`;
}

function metricTitle(metric) {
  const { title, unit } = content.metrics[metric];
  return unit ? `${title} in ${unit}` : title;
}

function describe(point, metric) {
  const { title, unit } = content.metrics[metric];
  const rate = `${number(point.bpp)} bits per pixel, ${number(point.kbps)} kbit/s`;
  const from = point.imported ? `\nimported from ${point.imported}` : "";
  return `${point.codec}, quality ${point.quality}\n${rate}\n${title} ${number(point.values[metric])} ${unit}`.trimEnd() + from;
}

/** Buttons that put codecs into `hidden` and take them out. */
function legend(codecs, hidden, redraw) {
  const box = el("div", { class: "legend", role: "group", "aria-label": "Codecs shown" });
  for (const codec of codecs) {
    const index = content.codecs.indexOf(codec);
    const line = svg("line", { x1: 0, x2: 27, y1: 6, y2: 6, stroke: colour(index), "stroke-width": 2, "stroke-dasharray": dashes(index) });
    const mark = svg("svg", { viewBox: "0 0 27 12", "aria-hidden": "true" }, line, marker(index, 13.5, 6, 4.5));
    const changed = (on) => {
      hidden[on ? "delete" : "add"](codec);
      redraw();
    };
    box.append(toggle([mark, codec], true, changed));
  }
  return box;
}

function rdCurves() {
  const state = { clip: content.clips.length > 1 ? content.mean : content.clips[0], metric: metricNames[0], log: true };
  const hidden = new Set();
  const rule = document.getElementById("curves-rule");
  const host = document.getElementById("curves-chart");
  const plan = () => {
    const mean = state.clip === content.mean && !content.clips.includes(content.mean);
    const clips = mean ? clipsWith(state.metric) : [];
    const series = content.codecs.filter((codec) => !hidden.has(codec)).map((codec) => {
      const points = mean ? meanPoints(codec, state.metric, clips) : curvePoints(codec, state.clip, state.metric);
      const spots = points.map((p) => ({ x: p.bpp, y: p.places[state.metric], text: describe(p, state.metric) }));
      return { name: codec, index: content.codecs.indexOf(codec), points: spots };
    });
    rule.textContent = rateLine(state, hidden) + (mean ? meanLine(state.metric, clips) : "");
    return {
      label: `${content.metrics[state.metric].title} over bits per pixel, ${state.clip}`,
      x: { title: `bits per pixel${state.log ? " (log)" : ""}`, log: state.log },
      y: { title: `${metricTitle(state.metric)}, better ↑`, kind: content.metrics[state.metric].kind },
      series,
      empty: `no codec shown has ${content.metrics[state.metric].title} ${mean ? "on all clips" : "here"}`,
    };
  };
  const one = chart(host, plan);
  const clips = [...(content.clips.length > 1 ? [[content.mean, "mean over clips"]] : []), ...content.clips.map((clip) => [clip, clip])];
  const change = (name) => (value) => { state[name] = value; one.draw(); };
  document.getElementById("curves-controls").append(
    select("Clip", clips, state.clip, change("clip")).element,
    select("Metric", metricNames.map((name) => [name, content.metrics[name].title]), state.metric, change("metric")).element,
    check("log rate axis", true, change("log")),
  );
  host.before(legend(content.codecs, hidden, () => one.draw()));
}

/** The BD-rates of what is drawn, in a line. */
function rateLine({ clip, metric }, hidden) {
  const here = content.comparisons.filter((row) => row.clip === clip && row.metric === metric && row.bd_rate_percent !== null);
  const rows = here.filter((row) => !hidden.has(row.codec) && !hidden.has(row.anchor));
  return rows.map((row) => `${row.codec} ${row.bd_rate_percent > 0 ? "+" : ""}${row.bd_rate_percent.toFixed(1).replace("-", "−")} % against ${row.anchor}.`).join(" ");
}

if (metricNames.length) rdCurves();
