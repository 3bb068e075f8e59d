/** Follows the jobs that are still open, and hands on each card as it changes. */

import { Refused, events, job } from "./api.js";

// A browser opens six connections to one host over all its tabs; the rest must stay free for pictures and requests.
const STREAMS = 2;
const POLL_MS = 4000;
const AGAIN_MS = 2000;

export class Live {
  /**
   * @param {(card: object) => void} onCard each new state of a job
   * @param {(id: number) => void} onGone the job is not there any more
   * @param {() => void} onBroken a stream broke: perhaps nobody is there
   */
  constructor(onCard, onGone, onBroken) {
    this.onCard = onCard;
    this.onGone = onGone;
    this.onBroken = onBroken;
    this.open = new Set();
    this.streams = new Map();
    setInterval(() => this.#poll(), POLL_MS);
    document.addEventListener("visibilitychange", () => this.#balance());
  }

  /** Follow a job until its card is final. */
  follow(id) {
    this.open.add(id);
    this.#balance();
  }

  #forget(id) {
    this.open.delete(id);
    this.#close(id);
    this.#balance();
  }

  // The jobs that are drawn next get a stream, if anybody looks; the others are asked for now and then.
  #balance() {
    const first = [...this.open].sort((a, b) => a - b).slice(0, document.hidden ? 0 : STREAMS);
    for (const id of [...this.streams.keys()]) if (!first.includes(id)) this.#close(id);
    for (const id of first) if (!this.streams.has(id)) this.#stream(id);
  }

  #stream(id) {
    const source = events(id);
    this.streams.set(id, source);
    source.addEventListener("card", (event) => this.#take(JSON.parse(event.data).card));
    source.addEventListener("error", () => {
      this.onBroken();
      // A broken connection is opened again by the browser itself; a refusal is not.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.#retry(id, source), AGAIN_MS);
    });
  }

  #close(id) {
    this.streams.get(id)?.close();
    this.streams.delete(id);
  }

  async #retry(id, source) {
    if (this.streams.get(id) !== source) return;
    this.#close(id);
    await this.#look(id);
    this.#balance();
  }

  async #poll() {
    if (document.hidden) return;
    await Promise.all([...this.open].filter((id) => !this.streams.has(id)).map((id) => this.#look(id)));
  }

  async #look(id) {
    try {
      const { card } = await job(id);
      if (this.open.has(id)) this.#take(card);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) return; // away: later again
      this.#forget(id);
      this.onGone(id);
    }
  }

  #take(card) {
    if (card.final) this.#forget(card.job_id);
    this.onCard(card);
  }
}
