/** Pictures of this person as the form keeps them: read once, and shown small. */

import { t } from "./texts.js";

const SIDE = 112;

let taken = 0;

/** Why a file is not taken; `message` is one sentence. */
export class NotTaken extends Error {}

/**
 * Read a picture: its file, its size, a number of its own, and a bitmap where this browser can show it.
 * Throws NotTaken for what is no picture, or has more than `most` bytes.
 */
export async function take(file, most) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  // What this browser can't show the service may still read (TIFF, say).
  if (!bitmap && !file.type.startsWith("image/")) throw new NotTaken(t("image.not_one"));
  if (file.size > most) throw new NotTaken(t("image.large", { limit: Math.floor(most / 2 ** 20) }));
  // Read now: a file that is changed on the disk meanwhile can't be sent any more.
  const data = new Blob([await file.arrayBuffer()], { type: file.type });
  return { name: file.name, data, number: ++taken, width: bitmap?.width ?? 0, height: bitmap?.height ?? 0, bitmap };
}

/** Draw a picture small. Drawn, not linked: the page may load pictures from the service alone. */
export function sketch(canvas, bitmap) {
  const scale = Math.min(1, (2 * SIDE) / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}
