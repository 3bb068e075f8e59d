/** Pictures of this person as the composer keeps them: read once, and shown small. */

import { html, useLayoutEffect, useRef } from "./preact.js";
import { t } from "./texts.js";

const SIDE = 224;

let taken = 0;

/** Why a file is not taken; `message` is one sentence. */
export class NotTaken extends Error {}

/**
 * Read a picture: its name, the stored picture that it is (`from`, such as 62:1; empty for a file), its data, its size, a number of its own, and a small canvas where this browser can show it.
 * Throws NotTaken for what is no picture, or has more than `most` bytes.
 */
export async function take(file, most, name = file.name, from = "") {
  if (file.size > most) throw new NotTaken(t("image.large", { limit: Math.floor(most / 2 ** 20) }));
  const bitmap = await createImageBitmap(file).catch(() => null);
  // What this browser can't show the service may still read (TIFF, say).
  if (!bitmap && !file.type.startsWith("image/")) throw new NotTaken(t("image.not_one"));
  const [width, height] = [bitmap?.width ?? 0, bitmap?.height ?? 0];
  const small = bitmap && sketch(bitmap);
  // A decoded picture takes 4 bytes a pixel.
  bitmap?.close();
  // Read now: a file that is changed on the disk meanwhile can't be sent any more.
  const data = new Blob([await file.arrayBuffer()], { type: file.type });
  return { name, from, data, number: ++taken, width, height, small };
}

/** A picture's name, with its size where that is known. */
export function named({ name, width, height }) {
  return width ? t("image.kept", { name, width, height }) : name;
}

function sketch(bitmap) {
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A taken picture, small. Drawn, not linked: the page may load pictures from the service alone. */
export function Thumb({ picture }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    const { small } = picture;
    if (!small) return;
    canvas.current.width = small.width;
    canvas.current.height = small.height;
    canvas.current.getContext("2d").drawImage(small, 0, 0);
  }, [picture]);
  return html`<canvas ref=${canvas} aria-hidden="true" hidden=${!picture.small}></canvas>`;
}
