/** The picture to start from: chosen, dropped or pasted; shown small, with its strength, until it is taken away. */

import { t } from "./texts.js";

const THUMB = 112;

let taken = 0;

const part = (id) => document.getElementById(id);

export class Start {
  /** @param {() => void} onChange another picture, or none */
  constructor(onChange) {
    this.onChange = onChange;
    this.picture = null;
    this.most = Infinity;
  }

  /** Listen; files of more than `most` bytes are not taken. */
  start(most) {
    this.most = most;
    part("image").addEventListener("change", (event) => this.#take(event.target.files));
    part("image-remove").addEventListener("click", () => this.remove());
    part("strength").addEventListener("input", () => this.#tell());
    document.addEventListener("paste", (event) => {
      if (!event.clipboardData?.files.length) return; // words belong to the field that they are pasted into
      event.preventDefault();
      this.#take(event.clipboardData.files);
    });
    // Anywhere on the page: a picture that misses the field must not be opened in the page's place.
    let inside = 0;
    const files = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (by) => {
      inside = by === 0 ? 0 : inside + by;
      part("form").classList.toggle("dropping", inside > 0);
    };
    document.addEventListener("dragenter", (event) => files(event) && mark(1));
    document.addEventListener("dragleave", (event) => files(event) && mark(-1));
    document.addEventListener("dragover", (event) => files(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      mark(0);
      this.#take(event.dataTransfer.files);
    });
  }

  /** Say whether the chosen model can start from a picture. */
  wear({ can }) {
    part("image-about").textContent = can.includes("image") ? "" : t("image.none");
  }

  /** What a request says of it: nothing where there is none. */
  body() {
    if (!this.picture) return {};
    const strength = part("strength");
    const usual = strength.value === strength.defaultValue;
    return usual ? {} : { strength: strength.value };
  }

  /** Its file, by the name of the field that it is sent in; nothing where there is none. */
  files() {
    return this.picture ? { image: this.picture.data } : {};
  }

  /** Which picture it is: another one has another number. */
  get number() {
    return this.picture?.number ?? 0;
  }

  /** Width and height in pixels, where the browser can read it; null where there is no picture. */
  get shape() {
    return this.picture && { width: this.picture.width, height: this.picture.height };
  }

  /** Take it away. */
  remove() {
    this.picture = null;
    part("image").value = "";
    part("strength").value = part("strength").defaultValue;
    this.#show();
    part("image").focus();
    this.onChange();
  }

  async #take([file]) {
    if (!file) return;
    this.#complain("");
    const bitmap = await createImageBitmap(file).catch(() => null);
    // What this browser can't show the service may still read (TIFF, say).
    if (!bitmap && !file.type.startsWith("image/")) return this.#complain(t("image.not_one"));
    if (file.size > this.most) return this.#complain(t("image.large", { limit: Math.floor(this.most / 2 ** 20) }));
    // Read now: a file that is changed on the disk meanwhile can't be sent any more.
    const data = new Blob([await file.arrayBuffer()], { type: file.type });
    this.picture = { name: file.name, data, number: ++taken, width: bitmap?.width ?? 0, height: bitmap?.height ?? 0 };
    this.#show(bitmap);
    this.onChange();
  }

  #show(bitmap) {
    const { picture } = this;
    part("image-zone").hidden = Boolean(picture);
    part("image-kept").hidden = !picture;
    part("strength-field").hidden = !picture;
    this.#complain("");
    this.#tell();
    if (!picture) return;
    const { name, width, height } = picture;
    part("image-name").textContent = width ? t("image.kept", { name, width, height }) : name;
    const canvas = part("image-thumb");
    canvas.hidden = !bitmap;
    if (!bitmap) return;
    // Drawn, not linked: the page may load pictures from the service alone.
    const scale = Math.min(1, (2 * THUMB) / Math.max(width, height));
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
  }

  #tell() {
    part("strength-value").textContent = part("strength").value;
  }

  #complain(sentence) {
    const error = part("image-error");
    error.textContent = sentence;
    error.hidden = !sentence;
  }
}
