// The packed videos: decoded once by WebCodecs into pictures, so that every frame can be shown exactly.

const KEPT = 4;
const decoded = new Map();

/** The JSON of a pack, or undefined. */
function packOf(key) {
  return [...document.querySelectorAll("script.pack")].find((script) => script.dataset.key === key);
}

/** { pictures, width, height, fps } of a pack; the last few are kept. */
function video(key) {
  const known = decoded.get(key);
  decoded.delete(key);
  const found = known ?? decodePack(JSON.parse(packOf(key).textContent));
  decoded.set(key, found);
  found.catch(() => decoded.delete(key));
  for (const old of [...decoded.keys()].slice(0, -KEPT)) forget(old);
  return found;
}

function forget(key) {
  const old = decoded.get(key);
  decoded.delete(key);
  old.then(({ pictures }) => setTimeout(() => pictures.forEach((picture) => picture.close()), 1000), () => {});
}

async function decodePack(pack) {
  if (typeof VideoDecoder === "undefined") throw new Error("This browser has no WebCodecs; Chromium, Firefox 130 and Safari 16.4 or newer have.");
  const config = { codec: pack.codec, codedWidth: pack.width, codedHeight: pack.height };
  const support = await VideoDecoder.isConfigSupported(config);
  if (!support.supported) throw new Error("This browser does not decode VP9 4:4:4; Chromium does.");
  const waiting = [];
  const failed = [];
  const decoder = new VideoDecoder({ output: (frame) => waiting.push(picture(frame)), error: (error) => failed.push(error) });
  decoder.configure(config);
  const data = Uint8Array.from(atob(pack.data), (letter) => letter.charCodeAt(0));
  let start = 0;
  pack.sizes.forEach((size, index) => {
    const type = index ? "delta" : "key";
    decoder.decode(new EncodedVideoChunk({ type, timestamp: Math.round((index * 1e6) / pack.fps), data: data.subarray(start, start + size) }));
    start += size;
  });
  await decoder.flush().catch((error) => failed.push(error));
  if (failed.length) throw failed[0];
  decoder.close();
  return { pictures: await Promise.all(waiting), width: pack.width, height: pack.height, fps: pack.fps, decibels: pack.decibels };
}

/** A frame as a bitmap. BT.709 to RGB is done here: browsers' own conversions differ by several levels in strong colours. */
async function picture(frame) {
  try {
    if (frame.format !== "I444") return await createImageBitmap(frame);
    const [width, height] = [frame.visibleRect.width, frame.visibleRect.height];
    const planes = new Uint8Array(frame.allocationSize());
    const layout = await frame.copyTo(planes);
    return await createImageBitmap(new ImageData(toRgb(planes, layout, width, height), width, height));
  } finally {
    frame.close();
  }
}

/** BT.709 of limited range to RGBA (ITU-R BT.709-6, items 3.2 to 3.5, inverted). */
function toRgb(planes, layout, width, height) {
  const out = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, at = 0; row < height; row++) {
    const [y, u, v] = layout.map(({ offset, stride }) => offset + row * stride);
    for (let column = 0; column < width; column++, at += 4) {
      const luma = 1.164384 * (planes[y + column] - 16);
      const [blue, red] = [planes[u + column] - 128, planes[v + column] - 128];
      out[at] = luma + 1.792741 * red;
      out[at + 1] = luma - 0.213249 * blue - 0.532909 * red;
      out[at + 2] = luma + 2.112402 * blue;
      out[at + 3] = 255;
    }
  }
  return out;
}

/** Calls `step(frame)` at the video's speed until `stop()`; frames go round. Late frames are left out, never slowed. */
function player(step) {
  let request = null;
  return {
    get playing() { return request !== null; },
    start(from, count, fps) {
      const begun = performance.now();
      const tick = (now) => {
        step((from + Math.max(0, Math.floor(((now - begun) / 1000) * fps))) % count);
        request = requestAnimationFrame(tick);
      };
      request = requestAnimationFrame(tick);
    },
    stop() {
      cancelAnimationFrame(request);
      request = null;
    },
  };
}
