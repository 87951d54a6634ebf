// Bits and quality of every frame, all codecs at nearly equal bitrate.

/** A codec's points on a clip in the tuning made for viewers, by rate. */
function viewingPoints(codec, clip) {
  const own = content.points.filter((p) => p.codec === codec && p.clip === clip && !p.imported);
  const viewing = own.filter((p) => p.tune === null || p.tune === "default");
  return (viewing.length ? viewing : own).sort((one, other) => one.bpp - other.bpp);
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
  const leads = (clip) => viewingPoints(first, clip);
  const middle = (clip) => String(leads(clip)[Math.floor(leads(clip).length / 2)]?.quality);
  const state = { clip: content.clips[0], quality: middle(content.clips[0]), metric: scored[0] };
  const chosen = () => {
    const lead = leads(state.clip).find((p) => String(p.quality) === state.quality) ?? leads(state.clip)[0];
    const shown = content.codecs.filter((codec) => !hidden.has(codec) && viewingPoints(codec, state.clip).length);
    return shown.map((codec) => (codec === first ? lead : nearestRate(viewingPoints(codec, state.clip), lead.bpp)));
  };
  const bits = chart(document.getElementById("time-bits"), () => timePlan(chosen(), "bits", state));
  const quality = chart(document.getElementById("time-quality"), () => timePlan(chosen(), state.metric, state));
  charts.push(bits, quality);
  const redraw = () => { bits.draw(); quality.draw(); };
  const rates = (clip) => leads(clip).map((p) => [String(p.quality), `${first} ${p.quality}: ${number(p.bpp, 3)} bpp`]);
  const level = select("Bitrate", rates(state.clip), state.quality, (value) => { state.quality = value; redraw(); });
  const clip = select("Clip", content.clips.map((name) => [name, name]), state.clip, (value) => {
    state.clip = value;
    if (!leads(value).some((p) => String(p.quality) === state.quality)) state.quality = middle(value);
    setOptions(level.list, rates(value), state.quality);
    redraw();
  });
  const controls = [clip.element, level.element];
  if (scored.length) controls.push(select("Metric", scored.map((name) => [name, content.metrics[name].title]), state.metric, (value) => { state.metric = value; redraw(); }).element);
  const place = document.getElementById("time-controls");
  place.append(...controls);
  place.after(legend(content.codecs.filter((codec) => content.points.some((p) => p.codec === codec && !p.imported))));
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
