/** A picture large, in a dialog: Esc closes, arrow keys turn to the job's other pictures. */

import { t } from "./texts.js";

const part = (name) => document.getElementById(`viewer${name}`);

export class Viewer {
  /** @param {(card: object) => number} enlarge how much larger the pictures of a card are shown */
  constructor(enlarge) {
    this.enlarge = enlarge;
    this.dialog = part("");
    this.picture = part("-picture");
    this.picture.addEventListener("click", () => this.#cover(false));
    part("-close").addEventListener("click", () => this.dialog.close());
    part("-previous").addEventListener("click", () => this.#turn(-1));
    part("-next").addEventListener("click", () => this.#turn(1));
    this.dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.#turn(by);
    });
    // The dialog covers everything: what is not the picture or a control is outside.
    this.dialog.addEventListener("click", (event) => {
      if (!event.target.closest("img, figcaption, button")) this.dialog.close();
    });
  }

  /** Open at a picture of a card. */
  open(card, index) {
    this.card = card;
    this.#show(index);
    this.dialog.showModal();
  }

  // What is covered stays so until somebody wants to see it.
  #cover(covered) {
    this.picture.classList.toggle("covered", covered);
  }

  #turn(by) {
    const { length } = this.card.pictures;
    this.#show((this.index + by + length) % length);
  }

  #show(index) {
    const { pictures, prompt } = this.card;
    const { url, download, width, height, alt, seed } = pictures[index];
    this.index = index;
    this.#cover(pictures[index].spoiler);
    this.picture.width = width;
    this.picture.height = height;
    this.picture.alt = alt;
    this.picture.src = url;
    // A small picture gains by being larger than beside the form, up to a point.
    this.picture.style.setProperty("--width", `${width * Math.max(1, 1.5 * this.enlarge(this.card))}px`);
    this.picture.style.setProperty("--ratio", String(width / height));
    part("-caption").textContent = prompt;
    part("-position").textContent = [
      pictures.length > 1 ? t("viewer.position", { index: index + 1, count: pictures.length }) : "",
      seed === null ? "" : t("viewer.seed", { seed }),
    ].filter(Boolean).join(" · ");
    part("-download").href = download;
    part("-previous").hidden = part("-next").hidden = pictures.length < 2;
  }
}
