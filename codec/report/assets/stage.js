// The canvas of the visual comparison: two pictures, split, side by side, flickering, or their difference.

/** How many picture pixels a mode shows beside and above each other. */
function tiles(mode, narrow) {
  if (mode !== "side") return [1, 1];
  return narrow ? [1, 2] : [2, 1];
}

/**
 * Draws a pair. `view`: { mode, split 0..1, zoom, x, y (centre, 0..1), gain, second (flicker shows the right one) }.
 */
class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.scratch = [0, 1].map(() => el("canvas").getContext("2d", { willReadFrequently: true }));
  }

  draw(left, right, view) {
    const context = this.layout(left, view);
    const { width, height } = this.tile;
    const paint = (picture, column, row) => this.paint(context, picture, column * width, row * height, view);
    if (view.mode === "side") {
      const [columns] = tiles("side", this.narrow);
      paint(left, 0, 0);
      paint(right, columns - 1, columns === 1 ? 1 : 0);
    } else if (view.mode === "flicker") paint(view.second ? right : left, 0, 0);
    else if (view.mode === "difference") paint(this.difference(left, right, view.gain), 0, 0);
    else this.split(context, left, right, view);
  }

  /** Sizes the canvas to its place on the screen; pictures are never drawn smoother than they are when zoomed. */
  layout(picture, view) {
    const room = this.canvas.parentElement.clientWidth;
    this.narrow = room < 640;
    const [columns, rows] = tiles(view.mode, this.narrow);
    const dense = window.devicePixelRatio || 1;
    const high = Math.min(window.innerHeight * 0.75 / rows, (room / columns) * (picture.height / picture.width));
    const width = Math.round((room * dense) / columns);
    const height = Math.round(high * dense);
    const size = [width * columns, height * rows];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    this.tile = { width, height };
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#101113";
    context.fillRect(0, 0, ...size);
    return context;
  }

  /** Where a picture lies inside a tile: { scale, left, top } in canvas pixels. */
  place(picture, view) {
    const { width, height } = this.tile;
    const scale = Math.min(width / picture.width, height / picture.height) * view.zoom;
    const along = (room, size, centre) => (size * scale <= room ? (room - size * scale) / 2 : Math.min(0, Math.max(room - size * scale, room / 2 - centre * size * scale)));
    return { scale, left: along(width, picture.width, view.x), top: along(height, picture.height, view.y) };
  }

  paint(context, picture, x, y, view) {
    const { scale, left, top } = this.place(picture, view);
    context.save();
    context.beginPath();
    context.rect(x, y, this.tile.width, this.tile.height);
    context.clip();
    context.imageSmoothingEnabled = view.zoom < 2;
    context.drawImage(picture, x + left, y + top, picture.width * scale, picture.height * scale);
    context.restore();
  }

  split(context, left, right, view) {
    const edge = Math.round(view.split * this.tile.width);
    this.paint(context, right, 0, 0, view);
    context.save();
    context.beginPath();
    context.rect(0, 0, edge, this.tile.height);
    context.clip();
    this.paint(context, left, 0, 0, view);
    context.restore();
    const dense = window.devicePixelRatio || 1;
    context.fillStyle = "#fff";
    context.fillRect(edge - dense, 0, 2 * dense, this.tile.height);
    context.beginPath();
    context.arc(edge, this.tile.height / 2, 9 * dense, 0, 2 * Math.PI);
    context.fill();
  }

  /** Absolute difference times `gain`, as a canvas. */
  difference(left, right, gain) {
    const [one, other] = [left, right].map((picture, index) => {
      const { canvas } = this.scratch[index];
      [canvas.width, canvas.height] = [picture.width, picture.height];
      this.scratch[index].drawImage(picture, 0, 0);
      return this.scratch[index].getImageData(0, 0, picture.width, picture.height);
    });
    for (let index = 0; index < one.data.length; index++)
      one.data[index] = index % 4 === 3 ? 255 : gain * Math.abs(one.data[index] - other.data[index]);
    this.scratch[0].putImageData(one, 0, 0);
    return this.scratch[0].canvas;
  }
}
