/** The reference pictures of an edit: chosen, dropped or pasted; shown small and in order, to be moved or taken away. */

import { announce, made, t } from "./texts.js";
import { NotTaken, sketch, take } from "./thumbs.js";

const part = (id) => document.getElementById(id);

export class References {
  /** @param {() => void} onChange other pictures, or another order */
  constructor(onChange) {
    this.onChange = onChange;
    this.pictures = [];
    this.most = 0;
  }

  /** Listen; files of more than `largest` bytes, or more than `together` in all, are not taken. */
  start(largest, together) {
    this.largest = largest;
    this.together = together;
    part("references").addEventListener("change", async (event) => {
      const { files } = event.target;
      await this.take(files);
      event.target.value = ""; // the same file may be chosen again
    });
  }

  /**
   * Say what becomes of them: `model` is the one that would serve the request, `chosen` the one that stands in the form,
   * `blocked` whether a start picture is in their way.
   */
  wear(model, chosen, blocked) {
    const able = model.can.includes("edit");
    const most = able && !blocked ? model.references : 0;
    if (most !== this.most) this.#complain(""); // what was said was about another model
    this.most = most;
    const { length } = this.pictures;
    const input = part("references");
    input.disabled = !this.most;
    part("references-zone").hidden = length > 0 && length >= this.most;
    let about = t("references.about", { most: model.references });
    if (!able) about = t("references.none", { model: model.title });
    else if (blocked) about = t("references.start");
    else if (length > this.most) about = t("references.many", { model: model.title, most: model.references });
    else if (!length && model.needs_reference && model === chosen) about = t("references.needed", { model: model.title });
    else if (length && model !== chosen) about = t("references.served", { model: model.title });
    part("references-about").textContent = about;
  }

  /** Whether one more can be taken. */
  get open() {
    return this.pictures.length < this.most;
  }

  /** Their files, by the name of the field that they are sent in; nothing where there are none. */
  files() {
    return this.pictures.length ? { references: this.pictures.map(({ data }) => data) } : {};
  }

  /** Which pictures they are, in order: others have other numbers. */
  get numbers() {
    return this.pictures.map(({ number }) => number);
  }

  /** Width and height of the first in pixels, where the browser can read it; undefined where there is none. */
  get shape() {
    return this.pictures[0];
  }

  /** Take pictures, as many as there is room for. */
  async take(files) {
    if (!this.most) return this.#complain(part("references-about").textContent);
    this.#complain("");
    const room = Math.max(0, this.most - this.pictures.length);
    let said = files.length > room ? t("references.full", { most: this.most }) : "";
    for (const file of [...files].slice(0, room)) {
      try {
        const picture = await take(file, this.largest);
        const size = this.pictures.reduce((sum, { data }) => sum + data.size, picture.data.size);
        if (size > this.together) throw new NotTaken(t("references.large", { limit: Math.floor(this.together / 2 ** 20) }));
        this.pictures.push(picture);
      } catch (error) {
        if (!(error instanceof NotTaken)) throw error;
        said = error.message;
      }
    }
    this.#changed();
    this.#complain(said);
  }

  #remove(index) {
    this.pictures.splice(index, 1)[0].bitmap?.close();
    this.#changed();
    // The one in its place, or where the next one comes from.
    const next = part("reference-list").children[Math.min(index, this.pictures.length - 1)];
    (next?.querySelector(".reference-remove") ?? part("references")).focus();
  }

  #move(index, to, action) {
    if (to < 0 || to >= this.pictures.length || to === index) return;
    this.pictures.splice(to, 0, ...this.pictures.splice(index, 1));
    this.#changed();
    announce(t("references.moved", { number: to + 1 }));
    if (!action) return;
    const moved = part("reference-list").children[to];
    const again = moved.querySelector(`.reference-${action}`);
    (again.disabled ? moved.querySelector("button:not(:disabled)") : again).focus();
  }

  #changed() {
    this.#show();
    this.onChange();
  }

  #show() {
    const list = part("reference-list");
    list.hidden = !this.pictures.length;
    list.replaceChildren(...this.pictures.map((picture, index) => this.#item(picture, index)));
  }

  #item({ name, width, height, bitmap }, index) {
    const item = made("reference-template");
    const number = index + 1;
    item.title = width ? t("image.kept", { name, width, height }) : name;
    item.querySelector(".reference-number").textContent = String(number);
    item.querySelector(".reference-name").textContent = item.title;
    const canvas = item.querySelector("canvas");
    canvas.hidden = !bitmap;
    if (bitmap) sketch(canvas, bitmap);
    const acts = [
      ["earlier", t("references.earlier", { number }), () => this.#move(index, index - 1, "earlier")],
      ["later", t("references.later", { number }), () => this.#move(index, index + 1, "later")],
      ["remove", t("references.remove", { number }), () => this.#remove(index)],
    ];
    for (const [action, label, act] of acts) {
      const button = item.querySelector(`.reference-${action}`);
      button.title = label;
      button.setAttribute("aria-label", label);
      button.disabled = (action === "earlier" && !index) || (action === "later" && number === this.pictures.length);
      button.hidden = action !== "remove" && this.pictures.length < 2;
      button.addEventListener("click", act);
    }
    this.#drag(item, index);
    return item;
  }

  // With a mouse, one is dragged to the place of another.
  #drag(item, index) {
    item.addEventListener("dragstart", (event) => {
      this.dragged = index;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("application/x-easel-reference", String(index)); // no text, so that no field takes it
    });
    item.addEventListener("dragend", () => (this.dragged = undefined));
    item.addEventListener("dragover", (event) => {
      if (this.dragged === undefined) return;
      event.preventDefault();
      item.classList.toggle("target", this.dragged !== index);
    });
    item.addEventListener("dragleave", () => item.classList.remove("target"));
    item.addEventListener("drop", (event) => {
      if (this.dragged === undefined) return;
      event.preventDefault();
      item.classList.remove("target");
      this.#move(this.dragged, index);
    });
  }

  #complain(sentence) {
    const error = part("references-error");
    error.textContent = sentence;
    error.hidden = !sentence;
  }
}
