/** Follows all jobs that are still open by one stream, and hands on each card as it changes. */

import { Refused, events, job } from "./api.js";

/** Most jobs in one stream; later ones follow when others have ended. */
const MOST = 200;
/** Jobs that come together are followed together: each change of the stream is a connection. */
const GATHER_MS = 50;
const AGAIN_MS = 2000;

export class Live {
  /**
   * @param {(card: object) => void} onCard each new state of a job
   * @param {(id: number) => void} onGone the job is not there any more
   * @param {() => void} onBroken the stream broke: perhaps nobody is there
   */
  constructor(onCard, onGone, onBroken) {
    this.onCard = onCard;
    this.onGone = onGone;
    this.onBroken = onBroken;
    this.open = new Set();
    this.followed = new Set();
    this.source = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.#soon());
  }

  /** Follow a job until its card is final. */
  follow(id) {
    this.open.add(id);
    this.#soon();
  }

  #soon(milliseconds = GATHER_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#balance(), milliseconds);
  }

  #forget(id) {
    this.open.delete(id);
    this.followed.delete(id);
    // Room in the stream for jobs that did not fit it.
    if (!this.open.size || (!this.followed.size && this.source)) this.#soon();
  }

  // Nobody looks at a hidden page: nothing is followed, and no previews are made for it.
  #balance() {
    const wanted = document.hidden ? [] : [...this.open].slice(0, MOST);
    if (this.source && wanted.length && wanted.every((id) => this.followed.has(id))) return;
    this.#close();
    if (wanted.length) this.#stream(wanted);
  }

  #stream(ids) {
    const source = events(ids);
    this.source = source;
    this.followed = new Set(ids);
    source.addEventListener("card", (event) => this.#take(JSON.parse(event.data).card));
    source.addEventListener("gone", (event) => this.#gone(JSON.parse(event.data).job_id));
    source.addEventListener("end", () => this.#ended(source));
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.onBroken();
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
    for (const id of [...this.open]) await this.#look(id);
    if (this.open.size) this.#soon(AGAIN_MS);
  }

  async #look(id) {
    try {
      const { card } = await job(id);
      if (this.open.has(id)) this.#take(card);
    } catch (error) {
      if (error instanceof Refused && error.status === 404) this.#gone(id); // else: later again
    }
  }

  #gone(id) {
    this.#forget(id);
    this.onGone(id);
  }

  #take(card) {
    if (card.final) this.#forget(card.job_id);
    this.onCard(card);
  }
}
