/** The stage: what is being drawn, then what waits, then what has ended, the newest first. Results stay while the page is open. */

import { JobCard } from "./cards.js";
import { announce } from "./texts.js";

/** Most ended jobs that stay; beyond it the oldest ones without focus go. The history has them. */
const MOST_ENDED = 60;

export class Stage {
  /** @param {object} house see JobCard */
  constructor(house) {
    this.house = house;
    this.root = document.getElementById("stage");
    this.cards = new Map();
    /** Jobs that have ended, the one that ended or was picked last first. */
    this.ended = [];
    this.shown = null;
    this.pressed = false;
    this.root.addEventListener("pointerdown", () => (this.pressed = true));
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => this.#released());
  }

  /** Show a job's card, new or changed. */
  put(card) {
    const id = card.job_id;
    const known = this.cards.get(id);
    const was = known?.card;
    // An answer that was long under way: what has ended has ended.
    if (was?.final && !card.final) return;
    this.#still(() => {
      if (known) known.update(card);
      else this.cards.set(id, new JobCard(card, this.house));
      if (card.final && !was?.final) this.#end(id);
      this.#arrange();
    });
    if (was?.tone !== card.tone && (was || !card.final)) announce(card.status);
  }

  /** Look at a finished job again. */
  show(card) {
    this.put(card);
    this.#still(() => {
      this.#end(card.job_id);
      this.#arrange();
    });
    return this.cards.get(card.job_id).element;
  }

  /** Take a job away. */
  drop(id) {
    this.#still(() => {
      this.cards.delete(id);
      this.#arrange();
    });
  }

  /** The service answers again. */
  back() {
    for (const card of this.cards.values()) card.back();
  }

  /** Whether nothing stands on it. */
  get empty() {
    return this.cards.size === 0;
  }

  #end(id) {
    this.ended = [id, ...this.ended.filter((other) => other !== id)];
    if (this.cards.get(id).card.pictures.length) this.shown = id;
  }

  // What somebody works on stays under their hand and keeps the focus, whatever comes and goes around it.
  #still(change) {
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    const used = [...this.cards.values()].find((card) => card.inUse)?.element;
    const top = used?.getBoundingClientRect().top;
    change();
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (used?.isConnected) scrollBy({ top: used.getBoundingClientRect().top - top, behavior: "instant" });
  }

  // Nothing moves between press and release, or the click would be lost.
  #released() {
    if (!this.pressed) return;
    this.pressed = false;
    setTimeout(() => this.#still(() => this.#arrange()));
  }

  #arrange() {
    if (this.pressed) return;
    const open = [...this.cards.keys()].filter((id) => !this.cards.get(id).card.final).sort((a, b) => a - b);
    const drawn = open.filter((id) => this.cards.get(id).drawing);
    const waiting = open.filter((id) => !drawn.includes(id));
    this.ended = this.ended.filter((id, at) => this.cards.has(id) && this.#stays(id, at));
    const order = [...drawn, ...waiting, ...this.ended];
    for (const id of [...this.cards.keys()]) if (!order.includes(id)) this.cards.delete(id);
    order.forEach((id, at) => {
      const card = this.cards.get(id);
      card.reserve(drawn.includes(id) || id === open[0]);
      // Only what stands elsewhere is moved: moving an element takes the focus from it.
      if (this.root.children[at] !== card.element) this.root.insertBefore(card.element, this.root.children[at] ?? null);
    });
    while (this.root.children.length > order.length) this.root.lastElementChild.remove();
  }

  // What was stopped is worth a look until another one has ended; all else stays while there is room.
  #stays(id, at) {
    const card = this.cards.get(id);
    return card.inUse || at === 0 || (card.card.tone !== "stopped" && at < MOST_ENDED);
  }
}
