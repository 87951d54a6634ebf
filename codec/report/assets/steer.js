// Pointer and keys on the visual comparison's picture.

/** Drag moves the split, or the picture when it is zoomed; a double click zooms; keys as the page says. */
function steer(box, canvas, { state, stage, paint, split, setZoom, show, toggle, picture }) {
  let drag = null;

  function setSplit(value) {
    state.split = Math.min(1, Math.max(0, value));
    split.value = Math.round(state.split * 100);
    paint();
  }

  function move(dx, dy) {
    state.x = Math.min(1, Math.max(0, state.x + dx));
    state.y = Math.min(1, Math.max(0, state.y + dy));
    paint();
  }

  const inside = (event) => {
    const area = canvas.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const [x] = inside(event);
    const onLine = state.mode === "split" && (state.zoom === 1 || Math.abs(x - state.split) < 0.03);
    drag = { line: onLine, x: event.clientX, y: event.clientY };
    if (onLine) setSplit(x);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.line) return setSplit(inside(event)[0]);
    const shown = picture();
    if (!shown || state.zoom === 1) return;
    const scale = stage.place(shown, state).scale / (window.devicePixelRatio || 1);
    move((drag.x - event.clientX) / (shown.width * scale), (drag.y - event.clientY) / (shown.height * scale));
    [drag.x, drag.y] = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("dblclick", (event) => {
    [state.x, state.y] = inside(event);
    setZoom(state.zoom === 1 ? 4 : 1);
  });

  const stepZoom = (by) => setZoom(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(state.zoom) + by))]);
  const keys = {
    ArrowLeft: () => show(state.frame - 1, true),
    ArrowRight: () => show(state.frame + 1, true),
    " ": toggle,
    "+": () => stepZoom(1),
    "=": () => stepZoom(1),
    "-": () => stepZoom(-1),
    "[": () => setSplit(state.split - 0.02),
    "]": () => setSplit(state.split + 0.02),
  };
  const far = 0.1;
  const shifted = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
  canvas.addEventListener("keydown", (event) => {
    const pan = event.shiftKey && shifted[event.key];
    const done = pan ? () => move(pan[0] / state.zoom, pan[1] / state.zoom) : keys[event.key];
    if (!done || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    done();
  });
}
