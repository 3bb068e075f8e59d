/** History: one tile for each job that has pictures, newest first; older ones on request, and those alone that a search finds. */

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
    this.query = "";
    this.button.addEventListener("click", () => this.#older());
  }

  /** Fetch the newest jobs; returns their cards. What was fetched before stays. */
  async newest() {
    const { cards, older } = await history();
    // While somebody searches, the tiles are what was found.
    if (this.query) return cards;
    for (const card of cards) this.put(card);
    if (this.oldest === null) this.#fetched(cards, older);
    while (this.items.size < ENOUGH && this.more) await this.#next();
    return cards;
  }

  /** Show what a search finds, or everything again for an empty one; returns how many tiles there are, null when it was overtaken. */
  async search(query) {
    const { cards, older } = await history(null, (this.wanted = query));
    if (this.wanted !== query) return null;
    this.query = query;
    this.items.clear();
    this.tiles.replaceChildren();
    for (const card of cards) this.#add(card);
    this.#fetched(cards, older);
    while (!query && this.items.size < ENOUGH && this.more) await this.#next();
    return this.items.size;
  }

  /** Add or change the tile of a finished job with pictures. */
  put(card) {
    this.section.hidden &&= !card.pictures.length;
    const item = this.items.get(card.job_id);
    if (item) star(item, card);
    else if (!this.query) this.#add(card);
  }

  /** Remove the tile of a job that is gone. */
  drop(id) {
    this.items.get(id)?.remove();
    this.items.delete(id);
    this.section.hidden ||= !this.items.size && !this.query;
  }

  #add(card) {
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
    tile.classList.toggle("covered", first.spoiler);
    tile.addEventListener("click", () => this.onPick(card));
    const count = item.querySelector(".tile-count");
    count.textContent = String(card.pictures.length);
    count.hidden = card.pictures.length < 2;
    star(item, card);
    return item;
  }

  #fetched(cards, older) {
    this.oldest = cards.at(-1)?.job_id ?? null;
    this.more = older;
    this.button.hidden = !older;
  }

  async #next() {
    const { query } = this;
    const { cards, older } = await history(this.oldest, query);
    if (query !== this.query) return;
    for (const card of cards) this.#add(card);
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

function star(item, { pictures }) {
  item.querySelector(".tile-star").toggleAttribute("hidden", !pictures.some(({ favourite }) => favourite));
}
