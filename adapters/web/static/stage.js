/** The stage: jobs that are still open, the last one that came to nothing, and the one whose pictures are looked at. */

import { JobCard } from "./cards.js";
import { announce } from "./texts.js";

export class Stage {
  /** @param {object} house see JobCard */
  constructor(house) {
    this.house = house;
    this.root = document.getElementById("stage");
    this.cards = new Map();
    this.ended = null;
    this.shown = null;
  }

  /** Show a job's card, new or changed. */
  put(card) {
    const id = card.job_id;
    const known = this.cards.get(id);
    const was = known?.card;
    // An answer that was long under way: what has ended has ended.
    if (was?.final && !card.final) return;
    if (known) known.update(card);
    else this.cards.set(id, new JobCard(card, this.house));
    if (card.final && !was?.final) this[card.pictures.length ? "shown" : "ended"] = id;
    if (was?.tone !== card.tone && (was || !card.final)) announce(card.status);
    this.#arrange();
  }

  /** Look at a finished job again. */
  show(card) {
    this.put(card);
    this.shown = card.job_id;
    this.#arrange();
    return this.cards.get(card.job_id).element;
  }

  /** Take a job away. */
  drop(id) {
    this.cards.delete(id);
    this.#arrange();
  }

  /** Whether nothing stands on it. */
  get empty() {
    return this.cards.size === 0;
  }

  #arrange() {
    const open = [...this.cards.keys()].filter((id) => !this.cards.get(id).card.final).sort((a, b) => b - a);
    // A job that came to nothing is worth a look until the next one ends well.
    if (this.ended !== null && this.shown > this.ended) this.ended = null;
    const order = [...open, this.ended, this.shown].filter((id) => this.cards.has(id));
    for (const id of [...this.cards.keys()]) if (!order.includes(id)) this.cards.delete(id);
    order.forEach((id, at) => {
      const card = this.cards.get(id);
      card.reserve(id === open.at(-1));
      // Only what stands elsewhere is moved: moving an element takes the focus from it.
      if (this.root.children[at] !== card.element) this.root.insertBefore(card.element, this.root.children[at] ?? null);
    });
    while (this.root.children.length > order.length) this.root.lastElementChild.remove();
  }
}
