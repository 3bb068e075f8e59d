/** The picture to start from, or to follow (control): chosen, dropped or pasted; shown small until it is taken away. */

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
    for (const id of ["strength", "control-weight"]) part(id).addEventListener("input", () => this.#tell());
    part("control").addEventListener("change", () => this.#offer());
  }

  /** Say whether the chosen model can start from a picture; `blocked`: whether references are in its way. */
  wear({ can, controls }, blocked) {
    const able = can.includes("image") || controls.length > 0;
    const chosen = part("control").value;
    const none = new Option(t("control.none"), "");
    part("control").replaceChildren(none, ...controls.map((kind) => new Option(kind, kind, false, kind === chosen)));
    this.#offer();
    part("image").disabled = blocked;
    part("image-about").textContent = blocked ? t("image.references") : able ? "" : t("image.none");
  }

  /** What a request says of it: nothing where there is none. */
  body() {
    if (!this.picture) return {};
    const control = part("control").value;
    if (control) {
      const weight = part("control-weight");
      return weight.value === weight.defaultValue ? { control } : { control, control_weight: weight.value };
    }
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
    for (const id of ["strength", "control-weight"]) part(id).value = part(id).defaultValue;
    part("control").value = "";
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
    this.#offer();
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

  // A control picture has a weight, and a picture to start from a strength.
  #offer() {
    const control = part("control");
    part("control-field").hidden = !this.picture || control.options.length < 2;
    part("control-weight-field").hidden = !this.picture || !control.value;
    part("strength-field").hidden = !this.picture || Boolean(control.value);
  }

  #tell() {
    for (const id of ["strength", "control-weight"]) part(`${id}-value`).textContent = part(id).value;
  }

  #complain(sentence) {
    const error = part("image-error");
    error.textContent = sentence;
    error.hidden = !sentence;
  }
}
