// Bits and quality of every frame, all codecs at nearly equal bitrate.

/** A codec's points on a clip in the tuning that is fair to the metric (of all metrics, when there is none), by rate. */
function fairPoints(codec, clip, metric) {
  const tune = content.metrics[metric]?.tune;
  const own = content.points.filter((p) => p.codec === codec && p.clip === clip && !p.imported);
  const fair = own.filter((p) => p.tune === null || p.tune === tune);
  return (fair.length ? fair : own).sort((one, other) => one.bpp - other.bpp);
}

function nearestRate(points, bpp) {
  const far = (p) => Math.abs(Math.log(p.bpp / bpp));
  return points.reduce((one, other) => (far(other) < far(one) ? other : one));
}

function alongTime() {
  const section = document.getElementById("time");
  const scored = metricNames.filter((name) => content.points.some((p) => p.per_frame[name]?.length));
  const first = content.codecs.find((codec) => content.points.some((p) => p.codec === codec && (p.frame_bytes || scored.length)));
  if (!first) {
    section.querySelectorAll(".controls, .pair, p").forEach((part) => part.remove());
    section.append(el("p", { class: "soft" }, "The result holds no sizes or scores of single frames."));
    return;
  }
  const hidden = new Set();
  const rule = document.getElementById("time-rule");
  const state = { clip: content.clips[0], quality: "", metric: scored[0] };
  const leads = () => fairPoints(first, state.clip, state.metric);
  const lead = () => leads().find((p) => String(p.quality) === state.quality) ?? leads()[Math.floor(leads().length / 2)];
  const chosen = () => {
    const own = lead();
    const shown = content.codecs.filter((codec) => !hidden.has(codec) && fairPoints(codec, state.clip, state.metric).length);
    return shown.map((codec) => (codec === first ? own : nearestRate(fairPoints(codec, state.clip, state.metric), own?.bpp ?? 1)));
  };
  const bits = chart(document.getElementById("time-bits"), () => timePlan(chosen(), "bits", state));
  const quality = chart(document.getElementById("time-quality"), () => timePlan(chosen(), state.metric, state));
  const rates = () => leads().map((p) => [String(p.quality), `${first} ${p.quality}: ${number(p.bpp, 3)} bpp`]);
  const redraw = () => { bits.draw(); quality.draw(); rule.textContent = timeLine(chosen(), lead(), state); };
  const level = select("Bitrate", [], "", (value) => { state.quality = value; redraw(); });
  const settle = () => {
    state.quality = String(lead()?.quality ?? "");
    setOptions(level.list, rates(), state.quality);
    redraw();
  };
  const change = (name) => (value) => { state[name] = value; settle(); };
  const controls = [select("Clip", content.clips.map((name) => [name, name]), state.clip, change("clip")).element, level.element];
  if (scored.length) controls.push(select("Metric", scored.map((name) => [name, content.metrics[name].title]), state.metric, change("metric")).element);
  const place = document.getElementById("time-controls");
  place.append(...controls);
  place.after(legend(content.codecs.filter((codec) => content.points.some((p) => p.codec === codec && !p.imported)), hidden, redraw));
  settle();
}

/** Which points are drawn, with their rates against the first codec's. */
function timeLine(points, lead, state) {
  const said = points.map((p) => {
    const tuned = p.tune ? `, tune ${p.tune}` : "";
    const against = p !== lead && lead ? `, ${signed(100 * (p.bpp / lead.bpp - 1), 2)} %` : "";
    return `${p.codec} ${p.quality} (${number(p.bpp, 3)} bpp${against}${tuned})`;
  });
  const tuning = state.metric ? `, standard codecs in the tuning that goes with ${content.metrics[state.metric].title}` : "";
  return `Bits and quality of the same files: every codec at its point nearest in bitrate to the first codec's${tuning}. ${said.join("; ")}.`;
}

/** Bits (kbit a frame) or a metric, frame by frame. */
function timePlan(points, what, state) {
  const bits = what === "bits";
  const kind = bits ? "plain" : (content.metrics[what]?.kind ?? "plain");
  const series = points.map((point) => {
    const values = (bits ? point.frame_bytes?.map((bytes) => (8 * bytes) / 1000) : point.per_frame[what]) ?? [];
    const every = bits ? 1 : (point.every[what] ?? 1);
    const spots = values.map((value, index) => ({ x: index * every, y: value === null ? null : bits ? Math.log10(Math.max(value, 1e-3)) : KINDS[kind].at(value),
      text: `${point.codec} ${point.quality}, frame ${index * every}\n${number(value)} ${bits ? "kbit" : content.metrics[what].unit}` }));
    return { name: point.codec, index: content.codecs.indexOf(point.codec), radius: 2.6, points: spots.filter((spot) => Number.isFinite(spot.y) && spot.y !== null) };
  });
  const title = bits ? "kbit a frame (log)" : what ? `${metricTitle(what)}, better ↑` : "";
  return {
    label: `${bits ? "Bits" : title} of every frame, ${state.clip}`,
    x: { title: "frame", whole: true },
    y: { title, kind: bits ? "decades" : kind },
    series,
    height: 280,
    empty: bits ? "no sizes of single frames" : "no scores of single frames",
  };
}

alongTime();
