/** Follows all jobs that are still open by one stream, and hands on each card as it changes. */

import { Refused, events, job } from "./api.js";

/** Most jobs in one stream; later ones follow when others have ended. */
const MOST = 200;
/** Jobs that come together are followed together: each change of the stream is a connection. */
const GATHER_MS = 50;
const AGAIN_MS = 2000;

export class Stream {
  /** @param {import("./store.js").store} store takes the cards */
  constructor(store) {
    this.store = store;
    this.wanted = new Set();
    this.followed = new Set();
    this.source = null;
    this.timer = 0;
  }

  /** Begin. */
  open() {
    if (this.opened) return;
    this.opened = true;
    document.addEventListener("visibilitychange", () => this.#soon());
  }

  /** Follow a job until its card is final. */
  follow(id) {
    this.wanted.add(id);
    this.#soon();
  }

  /** Follow a job no more. */
  forget(id) {
    this.wanted.delete(id);
    this.followed.delete(id);
    // Room in the stream for jobs that did not fit it.
    if (!this.wanted.size || (!this.followed.size && this.source)) this.#soon();
  }

  #soon(milliseconds = GATHER_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#balance(), milliseconds);
  }

  // Nobody looks at a hidden page: nothing is followed, and no previews are made for it.
  #balance() {
    const wanted = document.hidden ? [] : [...this.wanted].slice(0, MOST);
    if (this.source && wanted.length && wanted.every((id) => this.followed.has(id))) return;
    this.#close();
    if (wanted.length) this.#stream(wanted);
  }

  #stream(ids) {
    const source = events(ids);
    this.source = source;
    this.followed = new Set(ids);
    source.addEventListener("card", (event) => this.#take(JSON.parse(event.data).card));
    source.addEventListener("gone", (event) => this.store.gone(JSON.parse(event.data).job_id));
    source.addEventListener("end", () => this.#ended(source));
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.store.look();
      // A broken connection is opened again by the browser itself; a refusal is not.
      if (source.readyState === EventSource.CLOSED) this.#refused();
    });
  }

  #close() {
    this.source?.close();
    this.source = null;
    this.followed.clear();
  }

  #ended(source) {
    if (this.source !== source) return;
    this.#close();
    this.#soon();
  }

  // Until a stream is to be had, each job is asked for.
  async #refused() {
    this.#close();
    for (const id of [...this.wanted]) await this.#look(id);
    if (this.wanted.size) this.#soon(AGAIN_MS);
  }

  async #look(id) {
    try {
      const { card } = await job(id);
      if (this.wanted.has(id)) this.#take(card);
    } catch (error) {
      if (error instanceof Refused && error.status === 404) this.store.gone(id); // else: later again
    }
  }

  #take(card) {
    if (card.final) this.forget(card.job_id);
    this.store.put(card);
  }
}
