// A blind study: pairs in an order of each voter's own, votes kept in this browser until they are saved as a file.

const CHOICES = [["left", "A is better"], ["equal", "No difference"], ["right", "B is better"]];
const NAMES = ["A", "B"];
const byId = (id) => document.getElementById(id);
const storeName = (voter) => `corvid-study:${content.study}:${voter}`;
const kept = { votes: [], order: [] };
let voter = "";
let shownAt = 0;
let frame = 0;
let videos = null;
let turn = 0;

/** Storage may be forbidden: then votes live as long as the page. */
function remember() {
  try {
    localStorage.setItem(storeName(voter), JSON.stringify(kept));
  } catch {
    byId("status").textContent = "This browser keeps nothing: do not close the page before you have saved your votes.";
  }
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(storeName(voter)) ?? "null");
  } catch {
    return null;
  }
}

/** Pairs in random order, sides swapped at random. */
function drawOrder() {
  const order = content.pairs.map(({ pair, one, other, original }) => {
    const swap = Math.random() < 0.5;
    return { pair, left: swap ? other : one, right: swap ? one : other, original };
  });
  for (let index = order.length - 1; index > 0; index--) {
    const with_ = Math.floor(Math.random() * (index + 1));
    [order[index], order[with_]] = [order[with_], order[index]];
  }
  return order;
}

const sides = NAMES.map((name) => el("canvas", { role: "img", "aria-label": `Video ${name}` }));
const captions = NAMES.map((name) => el("figcaption", {}, name));
byId("duo").append(...sides.map((canvas, index) => el("figure", {}, captions[index], canvas)));
const voteButtons = CHOICES.map(([choice, text], index) => el("button", { type: "button", "data-choice": choice, "aria-keyshortcuts": index + 1, click: () => vote(choice) }, text));
byId("votes").append(...voteButtons);
const stop = el("button", { type: "button", click: () => (run.playing ? pause() : play()) }, "❚❚ Stop");
const original = toggle(["Show the original"], false, () => load());
const back = el("button", { type: "button", click: undo }, "Back to the last pair");
byId("more").append(stop, original, back);

const run = player((index) => {
  frame = index;
  paint();
});

function paint() {
  sides.forEach((canvas, index) => {
    const picture = videos[index].pictures[frame % videos[index].pictures.length];
    if (canvas.width !== picture.width) [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
  });
}

function play() {
  stop.textContent = "❚❚ Stop";
  run.start(frame, Math.min(...videos.map((one) => one.pictures.length)), videos[0].fps);
}

function pause() {
  run.stop();
  stop.textContent = "▶ Play";
}

/** Shows the pair that is next, or the end. */
function next() {
  const at = kept.votes.length;
  const finished = at >= kept.order.length;
  byId("judge").hidden = finished;
  byId("end").hidden = !finished;
  run.stop();
  if (finished) return;
  byId("count").textContent = `Pair ${at + 1} of ${kept.order.length}`;
  byId("done").value = at;
  back.disabled = at === 0;
  original.setAttribute("aria-pressed", "false");
  original.hidden = !kept.order[at].original;
  frame = 0;
  shownAt = performance.now();
  load();
}

async function load() {
  const mine = ++turn;
  const pair = kept.order[kept.votes.length];
  const first = original.getAttribute("aria-pressed") === "true";
  captions.forEach((caption, index) => { caption.textContent = first ? "Original" : NAMES[index]; });
  byId("why").textContent = first ? "This is the original, on both sides. To vote, press “Show the original” again: A and B come back." : "";
  voteButtons.forEach((button) => { button.disabled = true; });
  try {
    const names = first ? [pair.original, pair.original] : [pair.left, pair.right];
    const found = await Promise.all(names.map((name) => video(name)));
    if (mine !== turn) return;
    videos = found;
    voteButtons.forEach((button) => { button.disabled = first; });
    run.stop();
    play();
  } catch (error) {
    byId("status").textContent = error.message;
  }
}

/** Sizes in CSS pixels: of the screen, the window and a picture, and how many pixels of the screen are one. */
function screenOf(canvas) {
  const { clientWidth, clientHeight } = canvas;
  return { screen: `${screen.width}x${screen.height}`, window: `${innerWidth}x${innerHeight}`, picture: `${clientWidth}x${clientHeight}`, density: devicePixelRatio };
}

function vote(choice) {
  const { pair, left, right } = kept.order[kept.votes.length];
  const seconds = Math.round((performance.now() - shownAt) / 100) / 10;
  kept.votes.push({ pair, left, right, choice, seconds, ...screenOf(sides[0]) });
  remember();
  next();
}

function undo() {
  kept.votes.pop();
  remember();
  next();
}

document.addEventListener("keydown", (event) => {
  if (byId("judge").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = voteButtons[["1", "2", "3"].indexOf(event.key)];
  if (event.key === " " && event.target === document.body) { event.preventDefault(); stop.click(); }
  else if (button && !button.disabled) button.click();
});

byId("who").addEventListener("submit", (event) => {
  event.preventDefault();
  voter = byId("voter").value.trim();
  if (!voter) return;
  Object.assign(kept, { votes: [], order: drawOrder() }, recall());
  byId("start").hidden = true;
  remember();
  next();
});

const csvCell = (value) => `"${String(value).replaceAll('"', '""')}"`;

/** Votes as a file: JSON with the study and voter once, CSV with them in every row. */
function votesAs(kind) {
  if (kind === "json") return JSON.stringify({ schema: 1, study: content.study, voter, votes: kept.votes }, null, 1);
  const fields = ["pair", "left", "right", "choice", "seconds", "screen", "window", "picture", "density"];
  const lines = kept.votes.map((row) => [content.study, voter, ...fields.map((name) => row[name] ?? "")].map(csvCell).join(","));
  return [["study", "voter", ...fields].join(","), ...lines].join("\r\n") + "\r\n";
}

for (const kind of ["json", "csv"]) {
  const save = () => {
    const link = el("a", { href: URL.createObjectURL(new Blob([votesAs(kind)], { type: kind === "json" ? "application/json" : "text/csv" })) });
    link.download = `votes_${voter.replace(/[^\p{L}\p{N}]+/gu, "_")}.${kind}`;
    link.click();
  };
  byId("save").append(el("button", { type: "button", "data-save": kind, click: save }, `Save as ${kind.toUpperCase()}`));
}
byId("save").append(el("button", { type: "button", click: undo }, "Back to the last pair"));
