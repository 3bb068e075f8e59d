/** The search above the history: what is typed, and whether favourites alone are wanted. */

import { Refused } from "./api.js";
import { t } from "./texts.js";

const PAUSE_MS = 250;
const FAVOURITES = "is:favourite";

export class Search {
  /**
   * @param {import("./gallery.js").Gallery} gallery shows what is found
   * @param {() => void} onShown the tiles are others now
   * @param {(error: Error) => void} onError it could not be asked
   */
  constructor(gallery, onShown, onError) {
    this.gallery = gallery;
    this.onShown = onShown;
    this.onError = onError;
    this.input = document.getElementById("query");
    this.star = document.getElementById("only-favourites");
    this.said = document.getElementById("found");
    this.asked = "";
    this.input.addEventListener("input", () => this.#soon());
    document.getElementById("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#now();
    });
    this.star.addEventListener("click", () => {
      this.star.setAttribute("aria-pressed", String(!this.#starred()));
      this.#now();
    });
  }

  #starred() {
    return this.star.getAttribute("aria-pressed") === "true";
  }

  #soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#now(), PAUSE_MS);
  }

  async #now() {
    clearTimeout(this.timer);
    const query = `${this.input.value.trim()} ${this.#starred() ? FAVOURITES : ""}`.trim();
    if (query === this.asked) return;
    this.asked = query;
    try {
      const count = await this.gallery.search(query);
      if (count === null) return;
      this.said.classList.remove("error");
      this.said.textContent = count || !query ? "" : t("search.nothing");
      this.onShown();
    } catch (error) {
      this.asked = null;
      if (!(error instanceof Refused)) return this.onError(error);
      this.said.classList.add("error");
      this.said.textContent = error.text;
    }
  }
}
