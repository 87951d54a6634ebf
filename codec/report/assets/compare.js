// The visual comparison: two codecs at nearly equal bitrate on a clip, frame by frame and playing.

const SOURCE = "source";
const MODES = [["split", "split slider"], ["side", "side by side"], ["flicker", "flicker"], ["difference", "difference"]];
const ZOOMS = [1, 2, 4, 8, 16];
const FLICKER_MS = 500;
const UNEQUAL = 0.1;
const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 1));

function compareTool(root) {
  const clips = content.clips.filter((clip) => content.pictures.levels[clip]?.length);
  if (!clips.length) return root.append(el("p", { class: "soft" }, "This report was written without pictures."));
  const state = { clip: clips[0], level: 0, left: "", right: "", frame: 0, count: 1, fps: 25, mode: "split", split: 0.5, zoom: 1, x: 0.5, y: 0.5, gain: 8, second: false };
  let pair = null;
  let turn = 0;

  const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "The two pictures" });
  const stage = new Stage(canvas);
  const tags = ["left", "right"].map((side) => el("span", { class: `tag ${side}` }));
  const wait = el("div", { class: "wait" }, "decoding …");
  const box = el("div", { class: "stage" }, canvas, ...tags, wait);
  const facts = el("div", { class: "facts" });
  const frame = el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Frame", input: () => show(Number(frame.value), true) });
  const split = el("input", { type: "range", min: 0, max: 100, value: 50, step: 1, id: "split", "aria-label": "Split", input: () => { state.split = split.value / 100; paint(); } });
  const shown = el("output", {}, "");
  const play = el("button", { type: "button", id: "play", click: () => (run.playing ? pause() : begin()) }, "▶ Play");
  const run = player((index) => show(index));
  const step = (by) => el("button", { type: "button", "aria-label": by < 0 ? "Frame before" : "Next frame", click: () => show(state.frame + by, true) }, by < 0 ? "◀|" : "|▶");

  const levels = () => content.pictures.levels[state.clip];
  const key = (side) => (state[side] === SOURCE ? `${SOURCE}:${state.clip}` : levels()[state.level][state[side]]);
  const sides = () => {
    const original = content.pictures.sources.includes(`${SOURCE}:${state.clip}`) ? [[SOURCE, "original"]] : [];
    return [...Object.keys(levels()[state.level]).map((codec) => [codec, codec]), ...original];
  };
  const rateOf = (level) => Object.values(level).map((name) => pointOf(name).bpp);
  const ends = (level) => [...new Set([Math.min(...rateOf(level)), Math.max(...rateOf(level))].map((bpp) => number(bpp, 2)))].join(" to ");
  const gap = (level) => Math.max(...rateOf(level)) / Math.min(...rateOf(level));
  const mostEqual = () => levels().reduce((best, level, index) => (gap(level) < gap(levels()[best]) ? index : best), 0);
  const rates = () => levels().map((level, index) => [String(index), `${ends(level)} bits per pixel`]);

  const controls = {
    clip: select("Clip", clips.map((clip) => [clip, clip]), state.clip, (value) => { state.clip = value; state.level = mostEqual(); settle(); }),
    level: select("Bitrate", rates(), "0", (value) => { state.level = Number(value); settle(); }),
    left: select("Left", [], "", (value) => { state.left = value; settle(); }),
    right: select("Right", [], "", (value) => { state.right = value; settle(); }),
    mode: select("View", MODES, state.mode, (value) => { state.mode = value; arrange(); }),
    zoom: select("Zoom", ZOOMS.map((zoom) => [String(zoom), zoom === 1 ? "fit" : `${zoom} ×`]), "1", (value) => { state.zoom = Number(value); arrange(); }),
    gain: select("Amplified", [1, 4, 8, 16, 32].map((gain) => [String(gain), `${gain} ×`]), "8", (value) => { state.gain = Number(value); paint(); }),
  };

  /** Makes the lists agree with the clip and level. */
  function fillLists() {
    const names = sides().map(([name]) => name);
    if (!names.includes(state.left)) state.left = names[0];
    if (!names.includes(state.right)) state.right = names.find((name) => name !== state.left) ?? names[0];
    setOptions(controls.level.list, rates(), String(state.level));
    setOptions(controls.left.list, sides(), state.left);
    setOptions(controls.right.list, sides(), state.right);
  }

  /** Loads the two videos that are chosen. */
  async function settle() {
    fillLists();
    pause();
    const mine = ++turn;
    wait.hidden = false;
    wait.textContent = "decoding …";
    try {
      const found = await Promise.all([video(key("left")), video(key("right"))]);
      if (mine !== turn) return;
      pair = found;
      state.count = Math.min(...pair.map((one) => one.pictures.length));
      state.fps = pair[0].fps;
      frame.max = state.count - 1;
      wait.hidden = true;
      describePair();
      arrange();
      show(Math.min(state.frame, state.count - 1));
    } catch (error) {
      if (mine === turn) wait.textContent = error.message;
    }
  }

  function describePair() {
    const points = ["left", "right"].map((side) => (state[side] === SOURCE ? null : pointOf(key(side))));
    tags.forEach((tag, index) => { tag.textContent = sideName(["left", "right"][index]); });
    const shownAt = pair.map((one) => one.decibels);
    facts.replaceChildren(...[...points.map((point, index) => {
      if (!point) return el("div", {}, el("strong", {}, "original"));
      const scores = metricNames.map((name) => `${content.metrics[name].title} ${number(point.values[name])}`).join(", ");
      return el("div", {}, el("strong", {}, nameOf(point)), `${number(point.kbps, 3)} kbit/s`, el("small", {}, scores), el("small", {}, `shown here at ${number(shownAt[index], 3)} dB of the decoded frames or better`));
    }), ratioOf(...points)].filter((part) => part !== null));
  }

  function arrange() {
    box.classList.toggle("zoomed", state.zoom > 1);
    split.parentElement.hidden = state.mode !== "split";
    controls.gain.element.hidden = state.mode !== "difference";
    tags[1].hidden = state.mode === "flicker";
    tags[1].style.top = "";
    paint();
  }

  function paint() {
    if (!pair) return;
    const [left, right] = pair.map((one) => one.pictures[state.frame]);
    stage.draw(left, right, state);
    const under = state.mode === "side" && stage.narrow;
    tags[1].style.top = under ? "calc(50% + .4rem)" : "";
    if (state.mode === "flicker") tags[0].textContent = sideName(state.second ? "right" : "left");
    else tags[0].textContent = sideName("left");
  }

  const sideName = (side) => (state[side] === SOURCE ? "original" : nameOf(pointOf(key(side))));

  function show(index, stop = false) {
    if (stop) pause();
    state.frame = ((index % state.count) + state.count) % state.count;
    frame.value = state.frame;
    shown.textContent = `${state.frame + 1} / ${state.count}`;
    paint();
  }

  function begin() {
    if (!pair) return;
    play.textContent = "❚❚ Pause";
    run.start(state.frame, state.count, state.fps);
  }

  function pause() {
    run.stop();
    play.textContent = "▶ Play";
  }

  setInterval(() => {
    if (state.mode !== "flicker" || document.hidden) return;
    state.second = !state.second;
    if (!run.playing) paint();
  }, FLICKER_MS);

  const setZoom = (zoom) => { state.zoom = zoom; controls.zoom.list.value = String(zoom); arrange(); };
  steer(box, canvas, { state, stage, paint, split, setZoom, show, toggle: () => play.click(), picture: () => pair?.[0].pictures[0] });
  root.append(
    el("div", { class: "controls" }, ...Object.values(controls).map((one) => one.element)),
    box,
    el("label", { class: "splitter" }, el("span", { class: "unseen" }, "Split"), split),
    el("div", { class: "transport" }, play, step(-1), step(1), frame, shown),
    facts,
    el("p", { class: "soft hint" }, "On the picture: ", el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " frames, ", el("kbd", {}, "space"), " plays, ", el("kbd", {}, "+"), " ", el("kbd", {}, "−"),
      " zoom, ", el("kbd", {}, "shift"), " with arrows moves the zoomed part, ", el("kbd", {}, "["), " ", el("kbd", {}, "]"), " move the split. Drag the line, or the zoomed picture."),
  );
  new ResizeObserver(paint).observe(box.parentElement);
  state.level = mostEqual();
  fillLists();
  whenIdle(settle);
  return undefined;
}

function nameOf(point) {
  return `${point.codec} ${point.quality}, ${number(point.bpp, 3)} bpp`;
}

/** How equal the rates of two points are, with a warning where they are not; null when one is the original. */
function ratioOf(left, right) {
  if (!left || !right || left === right) return null;
  const gap = Math.max(left.bpp / right.bpp, right.bpp / left.bpp) - 1;
  const rule = gap > UNEQUAL ? ", so this is no comparison at equal rate: code more qualities of one of them near these rates" : "";
  const text = `Rates, right over left: ${number(right.bpp / left.bpp, 3)} (${signed(100 * (right.bpp / left.bpp - 1), 2)} %)${rule}.`;
  return el("div", { class: gap > UNEQUAL ? "ratio bad" : "ratio" }, text);
}

/** The point that a pack shows. */
function pointOf(name) {
  const wanted = content.pictures.points[name];
  return content.points.find((p) => ["codec", "clip", "tune", "quality"].every((field) => p[field] === wanted[field]));
}
