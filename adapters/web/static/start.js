/** The picture to start from: chosen, dropped or pasted; shown small, with its strength, until it is taken away. */

import { t } from "./texts.js";
import { NotTaken, sketch, take } from "./thumbs.js";

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
    part("image").addEventListener("change", (event) => this.take(event.target.files));
    part("image-remove").addEventListener("click", () => this.remove());
    part("strength").addEventListener("input", () => this.#tell());
  }

  /** Say whether the chosen model can start from a picture; `blocked`: whether references are in its way. */
  wear({ can }, blocked) {
    const able = can.includes("image");
    part("image").disabled = blocked;
    part("image-about").textContent = blocked ? t("image.references") : able ? "" : t("image.none");
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

  /** Take the first of these files. */
  async take([file]) {
    if (!file) return;
    this.#complain("");
    try {
      this.picture = await take(file, this.most);
    } catch (error) {
      if (!(error instanceof NotTaken)) throw error;
      return this.#complain(error.message);
    }
    this.#show();
    this.onChange();
  }

  #show() {
    const { picture } = this;
    part("image-zone").hidden = Boolean(picture);
    part("image-kept").hidden = !picture;
    part("strength-field").hidden = !picture;
    this.#complain("");
    this.#tell();
    if (!picture) return;
    const { name, width, height, bitmap } = picture;
    part("image-name").textContent = width ? t("image.kept", { name, width, height }) : name;
    const canvas = part("image-thumb");
    canvas.hidden = !bitmap;
    if (!bitmap) return;
    sketch(canvas, bitmap);
    bitmap.close();
    picture.bitmap = null;
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
