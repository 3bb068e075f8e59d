/** The LoRAs to draw with: picked from those that fit the model, each with its weight and its trigger words. */

import { made, t } from "./texts.js";

const part = (id) => document.getElementById(id);

export class Loras {
  /**
   * @param {() => void} onChange others, or another weight
   * @param {(word: string) => void} onWord a trigger word was pressed
   */
  constructor(onChange, onWord) {
    this.onChange = onChange;
    this.onWord = onWord;
    this.known = [];
    /** Weights by name, in the order in which they were picked; those that don't fit the model come back with it. */
    this.picked = new Map();
  }

  /** Listen; offer these, at most `most` at a time. */
  start(loras, most) {
    this.known = loras;
    this.most = most;
    const select = part("lora");
    select.addEventListener("change", () => {
      const lora = this.known.find(({ name }) => name === select.value);
      if (!lora) return;
      this.picked.set(lora.name, lora.weight);
      this.#show();
      part("loras").lastElementChild.querySelector("input").focus();
      this.onChange();
    });
  }

  /** Offer those that fit the model. */
  wear(model) {
    this.model = model;
    this.#show();
  }

  /** What a request says of them: nothing where there are none. */
  body() {
    const chosen = this.#chosen();
    return chosen.length ? { lora: chosen.map(({ name }) => `${name}:${this.picked.get(name)}`).join(", ") } : {};
  }

  /** What a draft keeps. */
  get draft() {
    return [...this.picked];
  }

  /** Take a draft's back, but for those that are not here any more. */
  restore(draft) {
    if (!Array.isArray(draft)) return;
    const names = new Set(this.known.map(({ name }) => name));
    this.picked = new Map(draft.filter(([name, weight]) => names.has(name) && Number.isFinite(weight)));
  }

  #fits({ family }) {
    return !family || family === this.model.family;
  }

  #chosen() {
    const by = new Map(this.known.map((lora) => [lora.name, lora]));
    return [...this.picked.keys()].map((name) => by.get(name)).filter((lora) => lora && this.#fits(lora));
  }

  #show() {
    const chosen = this.#chosen();
    const fitting = this.known.filter((lora) => this.#fits(lora));
    const left = fitting.filter((lora) => !chosen.includes(lora));
    part("lora-field").hidden = !fitting.length;
    part("loras").replaceChildren(...chosen.map((lora) => this.#row(lora)));
    part("loras").hidden = !chosen.length;
    const select = part("lora");
    select.replaceChildren(new Option(t("lora.add"), ""), ...left.map(({ name, title }) => new Option(title, name)));
    const full = chosen.length >= this.most;
    select.disabled = full || !left.length;
    part("lora-about").textContent = full ? t("lora.full", { most: this.most }) : "";
  }

  #row(lora) {
    const row = made("lora-template");
    const [slider, weight] = [row.querySelector("input"), row.querySelector("output")];
    const show = () => (weight.textContent = String(this.picked.get(lora.name)));
    row.querySelector(".lora-title").textContent = lora.title;
    slider.setAttribute("aria-label", t("lora.weight", { lora: lora.title }));
    slider.value = String(this.picked.get(lora.name));
    slider.addEventListener("input", () => {
      this.picked.set(lora.name, Number(slider.value));
      show();
    });
    show();
    const remove = row.querySelector("button");
    remove.setAttribute("aria-label", t("lora.remove", { lora: lora.title }));
    remove.title = remove.getAttribute("aria-label");
    remove.addEventListener("click", () => {
      this.picked.delete(lora.name);
      this.#show();
      part("lora").focus();
      this.onChange();
    });
    const words = row.querySelector(".lora-words");
    words.hidden = !lora.triggers.length;
    words.append(...lora.triggers.map((word) => this.#word(word)));
    return row;
  }

  #word(word) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "word";
    button.textContent = word;
    button.title = t("lora.word");
    button.addEventListener("click", () => this.onWord(word));
    return button;
  }
}
