/** Paint over the part of a picture that is to be drawn anew: a brush with undo, by mouse, pen and finger; the mask is a PNG. */

import { addStart, storedAt } from "./composer.js";
import { draft } from "./draft.js";
import { Action, Icon } from "./parts.js";
import { html, useEffect, useLayoutEffect, useReducer, useRef, useState } from "./preact.js";
import { announce, t } from "./texts.js";
import { Zoom } from "./zoom.js";

/** Most pixels along a side of what is painted on; the mask is made as large as the picture. */
const PAINTED = 1536;
/** Most pixels along a side of a picture that is sent as it is; the service scales larger ones down to this. */
const SENT = 4096;
/** Width of the brush in shares of the picture's longer side. */
const BRUSH = { least: 0.01, most: 0.4, usual: 0.1, step: 1.25 };
const PEN = 0.35;

let asked = null;
const listeners = new Set();

function tell(next) {
  asked = next;
  for (const listener of [...listeners]) listener();
}

/**
 * Let somebody paint a mask over a picture: `source` is its address on this service or a Blob, `mask` a Blob of the mask
 * that it has. The picture becomes the start picture, with its mask. Resolves with whether that has happened.
 */
export function openMask({ source, name, mask = null }) {
  return new Promise((done) => tell({ source, name, mask, done }));
}

/** What was painted: strokes and whole changes in order, drawn again after each undo. */
class Painting {
  #done = [];
  #undone = [];

  /** @param {HTMLCanvasElement} canvas what is painted on; transparent is kept */
  constructor(canvas, colour) {
    this.canvas = canvas;
    this.colour = colour;
    this.pen = canvas.getContext("2d", { willReadFrequently: true });
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  get isEmpty() {
    const { width, height } = this.canvas;
    const { data } = this.pen.getImageData(0, 0, width, height);
    for (let at = 3; at < data.length; at += 4) if (data[at] > 127) return false;
    return true;
  }

  /** Begin a stroke: `points` are [x, y, width]. */
  begin(point, erase) {
    this.stroke = { kind: "stroke", erase, points: [point] };
    this.#line(this.stroke, 0);
  }

  go(point) {
    this.stroke.points.push(point);
    this.#line(this.stroke, this.stroke.points.length - 2);
  }

  end() {
    this.#keep(this.stroke);
    this.stroke = null;
  }

  /** Take back a stroke that was begun. */
  cancel() {
    if (!this.stroke) return;
    this.stroke = null;
    this.#again();
  }

  clear() {
    this.#change({ kind: "clear" });
  }

  invert() {
    this.#change({ kind: "invert" });
  }

  /** Take a picture as the mask: what is light in it is painted. */
  take(bitmap) {
    const { width, height } = this.canvas;
    const found = canvasOf(width, height);
    const pen = found.getContext("2d");
    pen.drawImage(bitmap, 0, 0, width, height);
    const image = pen.getImageData(0, 0, width, height);
    for (let at = 0; at < image.data.length; at += 4) {
      const [red, green, blue, alpha] = image.data.subarray(at, at + 4);
      image.data[at + 3] = ((red + green + blue) * alpha) / 765;
    }
    pen.putImageData(image, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = this.colour;
    pen.fillRect(0, 0, width, height);
    this.#change({ kind: "take", found });
  }

  undo() {
    this.#undone.push(this.#done.pop());
    this.#again();
  }

  redo() {
    this.#done.push(this.#undone.pop());
    this.#again();
  }

  /** The mask as a PNG of a size: white where the picture is drawn anew. */
  file(width, height) {
    const found = canvasOf(width, height);
    const pen = found.getContext("2d");
    pen.drawImage(this.canvas, 0, 0, width, height);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    return new Promise((done) => found.toBlob(done, "image/png"));
  }

  #keep(one) {
    this.#done.push(one);
    this.#undone = [];
  }

  #change(one) {
    this.#apply(one);
    this.#keep(one);
  }

  #again() {
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const one of this.#done) this.#apply(one);
  }

  #apply(one) {
    const { pen } = this;
    const { width, height } = this.canvas;
    if (one.kind === "stroke") for (let at = 0; at < Math.max(1, one.points.length - 1); at += 1) this.#line(one, at);
    else if (one.kind === "clear") pen.clearRect(0, 0, width, height);
    else if (one.kind === "invert") {
      pen.globalCompositeOperation = "source-out";
      pen.fillStyle = this.colour;
      pen.fillRect(0, 0, width, height);
      pen.globalCompositeOperation = "source-over";
    } else {
      pen.clearRect(0, 0, width, height);
      pen.drawImage(one.found, 0, 0);
    }
  }

  #line({ erase, points }, at) {
    const { pen } = this;
    const [from, to] = [points[at], points[at + 1] ?? points[at]];
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.strokeStyle = this.colour;
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = to[2];
    pen.beginPath();
    pen.moveTo(from[0], from[1]);
    pen.lineTo(to[0], to[1] + 0.01);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  }
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

async function opened(source) {
  const blob = source instanceof Blob ? source : await (await fetch(source)).blob();
  return { blob, bitmap: await createImageBitmap(blob) };
}

/** The dialog; it is there once, and opened by `openMask`. */
export function Mask() {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => {
    listeners.add(again);
    return () => listeners.delete(again);
  }, []);
  return asked && html`<${Painter} key=${asked.name} ...${asked} />`;
}

function Painter({ source, name, mask, done }) {
  const [dialog, stage, box, below, above, ring] = [useRef(), useRef(), useRef(), useRef(), useRef(), useRef()];
  const [, again] = useReducer((count) => count + 1, 0);
  const [width, setWidth] = useState(BRUSH.usual);
  const [erase, setErase] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const made = useRef({});
  const brush = useRef({});
  brush.current = { width, erase };

  const leave = (finished) => {
    made.current.bitmap?.close();
    dialog.current.close();
    tell(null);
    done(finished);
  };

  useEffect(() => {
    dialog.current.showModal();
    const start = async () => {
      try {
        Object.assign(made.current, await opened(source));
      } catch {
        setError(t("error.picture"));
        return;
      }
      const { bitmap } = made.current;
      const scale = Math.min(1, PAINTED / Math.max(bitmap.width, bitmap.height));
      for (const { current } of [below, above]) {
        current.width = Math.max(1, Math.round(bitmap.width * scale));
        current.height = Math.max(1, Math.round(bitmap.height * scale));
      }
      box.current.style.setProperty("--ratio", String(bitmap.width / bitmap.height));
      below.current.getContext("2d").drawImage(bitmap, 0, 0, below.current.width, below.current.height);
      const painting = new Painting(above.current, getComputedStyle(dialog.current).getPropertyValue("--paint").trim() || "#f0f");
      made.current.painting = painting;
      if (mask) painting.take(await createImageBitmap(mask));
      const wide = () => brush.current.width * Math.max(above.current.width, above.current.height);
      const point = (event) => {
        const { left, top, width: across, height: down } = above.current.getBoundingClientRect();
        const press = event.pointerType === "pen" && event.pressure ? PEN + (1 - PEN) * Math.min(1, event.pressure * 1.5) : 1;
        return [((event.clientX - left) / across) * above.current.width, ((event.clientY - top) / down) * above.current.height, wide() * press];
      };
      const follow = (event) => {
        const { left, top } = stage.current.getBoundingClientRect();
        const shown = above.current.getBoundingClientRect().width;
        ring.current.style.setProperty("--size", `${(wide() / above.current.width) * shown}px`);
        ring.current.style.transform = `translate(${event.clientX - left}px, ${event.clientY - top}px) translate(-50%, -50%)`;
        ring.current.hidden = event.pointerType === "touch";
      };
      const drawn = (phase, event) => {
        follow(event);
        if (phase === "hover") return false;
        if (phase === "down") painting.begin(point(event), brush.current.erase || event.buttons === 32);
        else if (phase === "move") for (const one of event.getCoalescedEvents?.() ?? [event]) painting.go(point(one));
        else {
          if (phase === "up") painting.end();
          else painting.cancel();
          again();
        }
        return true;
      };
      made.current.zoom = new Zoom(stage.current, box.current, { drawn });
      again();
    };
    start();
  }, []);

  const { painting, zoom, bitmap, blob } = made.current;
  const changed = (act) => () => {
    act();
    again();
  };
  const sized = (by) => setWidth(Math.min(BRUSH.most, Math.max(BRUSH.least, width * BRUSH.step ** by)));
  const upload = async ({ target }) => {
    const [file] = target.files;
    target.value = "";
    try {
      painting.take(await createImageBitmap(file));
      setError("");
      announce(t("mask.taken"));
    } catch {
      setError(t("mask.unreadable"));
    }
    again();
  };
  const finish = async () => {
    if (painting.isEmpty) {
      setError(t("mask.empty"));
      return;
    }
    setBusy(true);
    const scale = Math.min(1, SENT / Math.max(bitmap.width, bitmap.height));
    const [across, down] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    let sent = blob;
    if (scale < 1) {
      const small = canvasOf(across, down);
      small.getContext("2d").drawImage(bitmap, 0, 0, across, down);
      sent = await new Promise((resolve) => small.toBlob(resolve, "image/png"));
    }
    const file = await painting.file(across, down);
    // A mask over a stored picture says where the new one comes from.
    const from = source instanceof Blob ? undefined : storedAt(source);
    if (draft.start?.data !== blob || scale < 1) await addStart(sent, name, from);
    await draft.setMask(file);
    leave(true);
  };
  const keyed = (event) => {
    const { key, target } = event;
    const command = event.ctrlKey || event.metaKey;
    // Keys must not reach the dialog below.
    event.stopPropagation();
    if (!painting || target.matches("input[type=range]")) return;
    const acts = command
      ? { z: () => (event.shiftKey ? painting.canRedo && painting.redo() : painting.canUndo && painting.undo()), y: () => painting.canRedo && painting.redo() }
      : { "[": () => sized(-1), "]": () => sized(1), b: () => setErase(false), e: () => setErase(true), "+": () => zoom.step(1), "-": () => zoom.step(-1), 0: () => zoom.reset() };
    const act = acts[key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
    again();
  };
  return html`
    <dialog ref=${dialog} id="mask" class="mask" aria-labelledby="mask-title" onKeyDown=${keyed} onCancel=${(event) => (event.preventDefault(), event.stopPropagation(), leave(false))}>
      <header class="mask-top">
        <h2 id="mask-title">${t("mask")}</h2>
        <p class="mask-about">${t("mask.about")}</p>
        <${Action} icon="close" bare label=${t("close")} id="mask-close" onClick=${() => leave(false)} />
      </header>
      <div ref=${stage} class="stage paint-stage">
        <div ref=${box} class="sheet-of paint-sheet"><canvas ref=${below} aria-hidden="true"></canvas><canvas ref=${above} id="mask-canvas" class="painted" role="img" aria-label=${t("mask.canvas")}></canvas></div>
        <span ref=${ring} class="ring" hidden aria-hidden="true"></span>
      </div>
      <footer class="mask-bar">
        ${error && html`<p class="error" role="alert" id="mask-error">${error}</p>`}
        <div class="mask-tools" role="group" aria-label=${t("viewer.tools")}>
          <${Action} icon="brush" label=${t("mask.brush")} pressed=${!erase} id="mask-brush" onClick=${() => setErase(false)} />
          <${Action} icon="eraser" label=${t("mask.erase")} pressed=${erase} id="mask-erase" onClick=${() => setErase(true)} />
          <label class="brush-size"><span>${t("mask.size")}</span><input type="range" id="mask-size" min=${BRUSH.least} max=${BRUSH.most} step="0.005" value=${width} aria-valuetext=${`${Math.round(width * 100)} %`} onInput=${({ target }) => setWidth(Number(target.value))} /></label>
          <${Action} icon="undo" bare label=${t("mask.undo")} id="mask-undo" busy=${!painting?.canUndo} onClick=${changed(() => painting.undo())} />
          <${Action} icon="redo" bare label=${t("mask.redo")} id="mask-redo" busy=${!painting?.canRedo} onClick=${changed(() => painting.redo())} />
          <${Action} label=${t("mask.invert")} id="mask-invert" busy=${!painting} onClick=${changed(() => painting.invert())} />
          <${Action} label=${t("mask.clear")} id="mask-clear" busy=${!painting} onClick=${changed(() => painting.clear())} />
          <label class="plain upload"><input type="file" accept="image/*" id="mask-file" onChange=${upload} /><${Icon} name="image" /><span>${t("mask.upload")}</span></label>
        </div>
        <button type="button" class="primary" id="mask-done" aria-disabled=${busy || !painting ? "true" : undefined} onClick=${() => painting && !busy && finish()}>${t("mask.done")}</button>
      </footer>
    </dialog>`;
}

/** The composer's button below a start picture. */
export function MaskButton() {
  const { start, mask, chosen } = draft;
  if (!start?.width || !chosen.can.includes("mask") || draft.fields.control) return null;
  return html`<div class="mask-line">
    <${Action} icon="brush" label=${t(mask ? "mask.change" : "change_part")} id="mask-open" onClick=${() => openMask({ source: start.data, name: start.name, mask })} />
    ${mask && html`<${Action} icon="close" bare label=${t("mask.remove")} id="mask-remove" onClick=${() => draft.setMask(null)} />`}
  </div>`;
}
