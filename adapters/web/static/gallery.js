/** History: one tile for each job that has pictures, newest first; older ones on request. */

import { history } from "./api.js";
import { made, t } from "./texts.js";

/** So many tiles at least are fetched at once, unless there are no more: jobs without pictures have none. */
const ENOUGH = 12;

export class Gallery {
  /**
   * @param {(card: object) => void} onPick a tile was chosen
   * @param {(error: Error) => void} onError older ones could not be fetched
   */
  constructor(onPick, onError) {
    this.onPick = onPick;
    this.onError = onError;
    this.section = document.getElementById("history");
    this.tiles = document.getElementById("tiles");
    this.button = document.getElementById("older");
    this.items = new Map();
    this.oldest = null;
    this.button.addEventListener("click", () => this.#older());
  }

  /** Fetch the newest jobs; returns their cards. What was fetched before stays. */
  async newest() {
    const { cards, older } = await history();
    for (const card of cards) this.put(card);
    if (this.oldest === null) this.#fetched(cards, older);
    while (this.items.size < ENOUGH && this.more) await this.#next();
    return cards;
  }

  /** Add or change the tile of a finished job with pictures. */
  put(card) {
    const id = card.job_id;
    if (!card.pictures.length || this.items.has(id)) return;
    const item = this.#tile(card);
    this.items.set(id, item);
    const after = [...this.items.keys()].filter((other) => other < id);
    const next = after.length ? this.items.get(Math.max(...after)) : null;
    this.tiles.insertBefore(item, next);
    this.section.hidden = false;
  }

  /** Mark the tile of the job that is looked at. */
  mark(id) {
    for (const [other, item] of this.items) {
      const tile = item.firstElementChild;
      if (other === id) tile.setAttribute("aria-current", "true");
      else tile.removeAttribute("aria-current");
    }
  }

  #tile(card) {
    const item = made("tile-template");
    const [first] = card.pictures;
    const image = item.querySelector("img");
    image.width = first.width;
    image.height = first.height;
    image.src = first.url;
    const tile = item.querySelector("button");
    tile.setAttribute("aria-label", t("tile", { prompt: card.prompt }));
    tile.title = card.prompt;
    tile.addEventListener("click", () => this.onPick(card));
    const count = item.querySelector(".tile-count");
    count.textContent = String(card.pictures.length);
    count.hidden = card.pictures.length < 2;
    return item;
  }

  #fetched(cards, older) {
    this.oldest = cards.at(-1)?.job_id ?? null;
    this.more = older;
    this.button.hidden = !older;
  }

  async #next() {
    const { cards, older } = await history(this.oldest);
    for (const card of cards) this.put(card);
    this.#fetched(cards, older && cards.length > 0);
  }

  async #older() {
    const before = this.items.size;
    const last = this.tiles.lastElementChild;
    try {
      while (this.items.size < before + ENOUGH && this.more) await this.#next();
    } catch (error) {
      this.onError(error);
    }
    // The button is gone with the last page: the keyboard goes on at the first tile that came.
    if (this.button.hidden) (last?.nextElementSibling ?? last)?.firstElementChild.focus();
  }
}
