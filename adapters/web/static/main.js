/** Puts the page together: form, stage, history, and the streams that keep them true. */

import { Away, info, unfinished } from "./api.js";
import { EngineState } from "./engine.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { Live } from "./live.js";
import { Search } from "./search.js";
import { Stage } from "./stage.js";
import { fill, t, use } from "./texts.js";
import { Viewer } from "./viewer.js";

const AGAIN_MS = 1500;
const NARROW = matchMedia("(max-width: 60rem)");
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

class Page {
  constructor(about) {
    this.models = about.models;
    const enlarge = (card) => this.#enlarge(card);
    this.viewer = new Viewer(enlarge);
    this.live = new Live((card) => this.#changed(card), (id) => this.#gone(id), () => this.engine.look());
    this.engine = new EngineState(() => this.#back());
    this.stage = new Stage({
      enlarge,
      onPressed: (answer) => this.#pressed(answer),
      onOpen: (card, index) => this.viewer.open(card, index),
      onReuse: (prompt) => this.form.write(prompt),
      onStar: (card) => this.gallery.put(card),
      onGone: (id) => this.#gone(id),
      onAway: () => this.engine.look(),
    });
    this.gallery = new Gallery((card) => this.#pick(card), (error) => this.#failed(error));
    this.search = new Search(this.gallery, () => this.#settle(), (error) => this.#failed(error));
    this.form = new Form((card) => this.#began(card), () => this.engine.look());
    this.engine.show(about);
    this.form.start(about);
    this.#offer();
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** Fetch what is open and the newest jobs: what is open is followed, what was finished elsewhere appears. */
  async refresh() {
    try {
      for (const card of (await unfinished()).cards) {
        this.#changed(card);
        this.live.follow(card.job_id);
      }
      const cards = await this.gallery.newest();
      for (const card of cards) if (this.stage.cards.has(card.job_id)) this.#changed(card);
      const latest = cards.find((card) => card.final && card.pictures.length);
      if (latest && this.stage.shown === null) this.stage.show(latest);
    } catch (error) {
      this.#failed(error);
    }
    this.#settle();
  }

  #back() {
    this.form.back();
    this.stage.back();
    this.refresh();
  }

  #began(card) {
    this.#changed(card);
    if (!card.final) this.live.follow(card.job_id);
    if (!NARROW.matches) return;
    // On a phone the picture is below the form, and the keyboard above it.
    if (matchMedia("(pointer: coarse)").matches) document.activeElement?.blur();
    this.#bring(this.stage.cards.get(card.job_id).element);
  }

  #pressed({ new: next, card }) {
    if (card && card.job_id !== null) this.#changed(card);
    if (next) this.#began(next);
  }

  #changed(card) {
    this.stage.put(card);
    this.gallery.put(card);
    this.#settle();
  }

  #gone(id) {
    this.stage.drop(id);
    this.gallery.drop(id);
    this.#settle();
  }

  #pick(card) {
    const element = this.stage.show(card);
    this.#settle();
    element.focus({ preventScroll: true });
    this.#bring(element);
  }

  #failed(error) {
    if (!(error instanceof Away)) throw error;
    this.engine.look();
  }

  #settle() {
    document.getElementById("empty").hidden = !this.stage.empty;
    this.gallery.mark(this.stage.shown);
  }

  #bring(element) {
    element.scrollIntoView({ block: "start", behavior: STILL.matches ? "auto" : "smooth" });
  }

  // Cards name their model by its title alone, as people read it.
  #enlarge(card) {
    const named = this.models.find(({ title }) => card.facts.some(({ value }) => value === title));
    return (named ?? this.models[0]).enlarge;
  }

  #offer() {
    for (const prompt of [t("example.1"), t("example.2"), t("example.3")]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "example";
      button.textContent = prompt;
      button.addEventListener("click", () => {
        this.form.write(prompt);
        this.form.submit();
      });
      document.getElementById("examples").append(button);
    }
  }
}

async function about() {
  for (;;) {
    try {
      return await info();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const first = await about();
use(first.texts);
document.documentElement.lang = first.lang;
fill(document);
document.getElementById("app").hidden = false;
await new Page(first).refresh();
document.getElementById("stage").removeAttribute("aria-busy");
