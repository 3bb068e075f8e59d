/** Follows all jobs of the person by one stream. While the page is hidden, it only asks now and then how the open ones are. */

import { events } from "./api.js";

const AGAIN_MS = 2000;
/** Between two looks at the open jobs of a hidden page, whose title says how far they are. */
const HIDDEN_MS = 5000;

export class Stream {
  /** @param {import("./store.js").store} store takes what comes */
  constructor(store) {
    this.store = store;
    this.source = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.#turned());
  }

  /** Follow what changes after the event `at`, which the feed's answer named. */
  open(at) {
    this.close();
    if (document.hidden) return this.#later();
    const source = events(at);
    this.source = source;
    source.addEventListener("card", ({ data }) => this.store.put(JSON.parse(data).card));
    source.addEventListener("gone", ({ data }) => this.store.gone(JSON.parse(data).job_id));
    source.addEventListener("engine", ({ data }) => this.store.engineIs(JSON.parse(data).engine));
    source.addEventListener("reset", () => this.store.refresh());
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.store.look();
      // A broken connection is opened again by the browser itself; a refusal is not.
      if (source.readyState === EventSource.CLOSED) this.#later(AGAIN_MS);
    });
  }

  /** Follow nothing. */
  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  // Nobody looks at a hidden page: it holds no connection, and no previews are made for it.
  #turned() {
    if (!document.hidden) return this.store.refresh();
    this.close();
    this.#later();
  }

  #later(milliseconds = HIDDEN_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      if (!document.hidden) return this.store.refresh();
      if (this.store.open().length) await this.store.glance();
      this.#later();
    }, milliseconds);
  }
}
