/** What the page knows: jobs by number, the service's state, and requests under way. Components subscribe to topics. */

import { Away, Refused, draw, feed, info, job, newKey, press, unfinished } from "./api.js";
import * as keep from "./keep.js";
import { useLayoutEffect, useReducer } from "./preact.js";
import { Stream } from "./stream.js";
import { announce, t } from "./texts.js";

const PAGE = 24;
const WARM_MS = 60000;
const COLD_MS = 1500;
const OUTBOX = "outbox";

/**
 * Topics: `list` (which rows there are), `card:62`, `engine`, `outbox`, `said` (notices), `current` (the row that keys
 * are for), `selected`, `pictures` (some came, or their stars changed). `*` stands for all of them.
 */
class Store {
  /** Cards by job number. */
  cards = new Map();

  /** Answer of /api/info. */
  about = null;

  /** Whether nobody answers. */
  away = false;

  /** Whether the first page has come. */
  ready = false;

  /** Whether there are older jobs than those here. */
  older = false;

  /** New jobs that wait while the person reads further down. */
  fresh = new Set();

  /** Requests that were not answered yet: {key, form, files, refused}. */
  outbox = [];

  /** Counts the changes of pictures: which there are, and which have stars. */
  revision = 0;

  /** Jobs that were here and are gone. */
  removed = new Set();

  /** Numbers of selected jobs. */
  selected = new Set();

  /** The number of the row that keys are for. */
  current = null;

  #listeners = new Map();
  #order = [];
  #reading = false;
  #loading = null;
  #timer = 0;
  #stream = new Stream(this);

  /** Call `listener` after each change of a topic; returns what ends it. */
  subscribe(listener, topic = "*") {
    if (!this.#listeners.has(topic)) this.#listeners.set(topic, new Set());
    this.#listeners.get(topic).add(listener);
    return () => this.#listeners.get(topic).delete(listener);
  }

  /** Tell those who listen to a topic. */
  emit(topic) {
    for (const name of [topic, "*"]) for (const listener of [...(this.#listeners.get(name) ?? [])]) listener();
  }

  /** One job's card; undefined where it is not known. */
  get(id) {
    return this.cards.get(id);
  }

  /** The shown cards, newest first. */
  list() {
    return this.#order.map((id) => this.cards.get(id));
  }

  /** Numbers of the shown jobs, newest first. */
  get ids() {
    return this.#order;
  }

  /** Jobs that are not finished: what is drawn, then what waits, the oldest first. */
  open() {
    const open = [...this.cards.values()].filter((card) => !card.final);
    const drawn = (card) => (card.progress === null ? 1 : 0);
    return open.sort((a, b) => drawn(a) - drawn(b) || a.job_id - b.job_id);
  }

  /** Begin: take what /api/info said, fetch the first page, follow what changes. */
  async start(about) {
    this.#know(about);
    this.outbox = (await keep.get(OUTBOX)) ?? [];
    this.emit("outbox");
    addEventListener("online", () => this.look());
    await this.refresh();
    this.ready = true;
    this.emit("list");
    this.#flush();
  }

  /** Fetch what is open and the newest jobs, and follow what changes from then on. What was fetched before stays. */
  async refresh() {
    const known = [...this.cards.keys()];
    try {
      const [page, open] = await Promise.all([feed({ limit: PAGE }), unfinished()]);
      const last = page.cards.at(-1)?.job_id ?? 0;
      // A gap: more has come meanwhile than one page holds, so the list begins anew.
      if (this.#order.length && page.older && last > this.#order[0]) this.#clear();
      if (!this.#order.length) this.older = page.older;
      const here = new Set([...page.cards, ...open.cards].map(({ job_id: id }) => id));
      for (const id of known) if ((id >= last || !page.older) && !here.has(id)) this.gone(id);
      this.#put(page.cards, true);
      this.#put(open.cards);
      this.#stream.open(page.at);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Ask how the open jobs are. */
  async glance() {
    try {
      const open = new Map((await unfinished()).cards.map((card) => [card.job_id, card]));
      const ended = this.open().filter(({ job_id: id }) => !open.has(id));
      this.#put([...open.values(), ...(await Promise.all(ended.map(({ job_id: id }) => job(id)))).map(({ card }) => card)]);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Fetch the next older jobs, a page of them; returns whether anything came. */
  loadOlder(limit = PAGE) {
    if (!this.older) return Promise.resolve(false);
    this.#loading ??= this.#loadOlder(limit).finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #loadOlder(limit) {
    try {
      const page = await feed({ before: this.#order.at(-1), limit });
      this.older = page.older;
      this.#put(page.cards, true);
      this.emit("list");
      return page.cards.length > 0;
    } catch (error) {
      this.failed(error);
      return false;
    }
  }

  /** Make sure that a job is here, with all newer ones; returns its card, or undefined. */
  async reach(id) {
    while (!this.cards.has(id) && this.older && this.#order.at(-1) > id) if (!(await this.loadOlder())) break;
    return this.cards.get(id);
  }

  /** Take a job's new or changed card. */
  put(card) {
    this.#put([card]);
  }

  #put(cards, paged = false) {
    let [changed, pictured] = [false, false];
    for (const card of cards) {
      const id = card.job_id;
      const before = this.cards.get(id);
      // An answer that was long under way: what has ended has ended.
      if (id === null || (before?.final && !card.final)) continue;
      this.removed.delete(id);
      // The place of pictures that don't come is kept, so that nothing moves.
      if (before?.coming && card.final && !card.pictures.length) card.place = before.coming;
      else if (before?.place) card.place = before.place;
      const known = this.#order.includes(id) || this.fresh.has(id);
      // Older jobs than those in the list come with their page; until then they are known, not listed.
      const early = !known && this.older && this.#order.length > 0 && id < this.#order.at(-1) && !paged;
      this.cards.set(id, card);
      if (looks(before) !== looks(card)) {
        this.revision += 1;
        pictured = true;
      }
      if (before?.tone !== card.tone && (before || !card.final)) announce(card.status);
      if (known || early) this.emit(`card:${id}`);
      else {
        changed = true;
        this.#insert(id);
      }
    }
    if (changed) {
      this.#settle();
      this.emit("list");
    }
    if (pictured) this.emit("pictures");
    this.emit("open");
  }

  // Tab leads to the newest row, until another one has the focus.
  #settle() {
    if (!this.cards.has(this.current) || !document.activeElement?.closest("#feed")) this.focus(this.#order[0] ?? null);
  }

  #insert(id) {
    if (this.#reading && this.#order.length && id > this.#order[0]) this.fresh.add(id);
    else {
      const at = this.#order.findIndex((other) => other < id);
      this.#order = at < 0 ? [...this.#order, id] : this.#order.toSpliced(at, 0, id);
    }
  }

  /** Say whether the person reads further down. New rows then wait, so that nothing moves. */
  reading(reading) {
    this.#reading = reading;
    if (!reading && this.fresh.size) this.reveal();
  }

  /** Show the rows that waited. */
  reveal() {
    const waiting = [...this.fresh].filter((id) => this.cards.has(id)).sort((a, b) => b - a);
    this.fresh.clear();
    if (waiting.length) this.#order = [...waiting, ...this.#order];
    this.emit("list");
  }

  /** A job is not there any more. */
  gone(id) {
    this.removed.add(id);
    if (!this.cards.delete(id)) return;
    this.fresh.delete(id);
    this.selected.delete(id);
    this.#order = this.#order.filter((other) => other !== id);
    this.#settle();
    this.emit("list");
    this.emit("open");
  }

  #clear() {
    this.cards.clear();
    this.#order = [];
    this.fresh.clear();
  }

  /** Press a button of a card; returns the answer. Throws Refused and Away. */
  async press(id, key = newKey()) {
    const answer = await press(id, key);
    for (const card of [answer.card, answer.new]) if (card) this.put(card);
    return answer;
  }

  /** Press a button once for each of these jobs, where they have it. */
  async pressEach(ids, action) {
    const buttons = ids.flatMap((id) => this.get(id)?.buttons.flat().filter((one) => one.action === action) ?? []);
    await Promise.all(buttons.map((one) => this.press(one.id).catch((error) => this.complain(error))));
  }

  /** Take a picture's star on or off. */
  async star(id, index) {
    const card = this.get(id);
    const picture = card.pictures.find((one) => one.index === index);
    const turned = (favourite) => {
      const now = this.get(id);
      this.put({ ...now, pictures: now.pictures.map((one) => (one.index === index ? { ...one, favourite } : one)) });
    };
    turned(!picture.favourite);
    try {
      announce((await press(picture.star, newKey())).notice);
    } catch (error) {
      turned(picture.favourite);
      this.complain(error);
    }
  }

  /**
   * Ask for pictures. The request is kept until it is answered, over reloads and while nobody answers, and sent under
   * one key, so that it is drawn once. Resolves with the card, or null while nobody answers. Throws Refused.
   */
  async submit(form, files = {}) {
    const item = { key: newKey(), form, files };
    this.outbox = [...this.outbox, item];
    this.emit("outbox");
    await keep.set(OUTBOX, this.outbox);
    return this.#send(item);
  }

  /** Take a request back that was not answered. */
  async withdraw(key) {
    this.outbox = this.outbox.filter((item) => item.key !== key);
    this.emit("outbox");
    await keep.set(OUTBOX, this.outbox);
  }

  async #send(item) {
    try {
      const { card } = await draw(item.form, item.key, item.files);
      await this.withdraw(item.key);
      this.put(card);
      return card;
    } catch (error) {
      if (error instanceof Refused) await this.withdraw(item.key);
      this.failed(error);
      if (error instanceof Refused) throw error;
      return null;
    }
  }

  // What was not answered is sent again, in order.
  async #flush() {
    for (const item of this.outbox) {
      try {
        if ((await this.#send(item)) === null) return;
      } catch (error) {
        this.say(error.text, "problem");
      }
    }
  }

  /** Handle an error: after Away, look for the service. Refused is left to the caller; any other error is thrown. */
  failed(error) {
    if (error instanceof Away) this.look();
    else if (!(error instanceof Refused)) throw error;
  }

  /** Handle an error, and say it at the edge of the page; `undo` as in `say`. */
  complain(error, undo = null) {
    this.failed(error);
    this.say(error instanceof Refused ? error.text : t("error.away"), "problem", undo);
  }

  /** Ask how the service is. */
  async look() {
    clearTimeout(this.#timer);
    try {
      const about = await info();
      const back = this.away;
      this.away = false;
      this.#know(about);
      if (!back) return;
      this.say("");
      await this.refresh();
      await this.#flush();
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      this.away = true;
      this.emit("engine");
      this.#later(COLD_MS);
    }
  }

  /** Take the engine's new state. */
  engineIs(engine) {
    this.about = { ...this.about, engine };
    this.emit("engine");
  }

  #know(about) {
    this.about = about;
    this.emit("engine");
    this.#later(["warm", "idle"].includes(about.engine.phase) ? WARM_MS : COLD_MS);
  }

  #later(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (document.hidden ? this.#later(milliseconds) : this.look()), milliseconds);
  }

  /** Show a notice at the edge of the page; `undo` is called by its button. */
  say(sentence, tone = "info", undo = null) {
    this.said = sentence ? { sentence, tone, undo } : null;
    if (sentence) announce(sentence);
    this.emit("said");
  }

  /** Make a row the one that keys are for. */
  focus(id) {
    const before = this.current;
    if (before === id) return;
    this.current = id;
    this.emit(`card:${before}`);
    this.emit(`card:${id}`);
    this.emit("current");
  }

  /** Select jobs, or select them no more. */
  select(ids, on = true) {
    for (const id of ids) {
      if (on) this.selected.add(id);
      else this.selected.delete(id);
      this.emit(`card:${id}`);
    }
    this.emit("selected");
  }

  /** How much larger than they are the pictures of a card are shown. */
  enlarge(card) {
    if (card.coming) return card.coming.enlarge;
    const { models } = this.about;
    const named = models.find(({ name, title }) => name === card.recipe?.model || card.facts.some(({ value }) => value === title));
    return (named ?? models[0]).enlarge;
  }
}

// What a small picture shows of a card's pictures.
function looks(card) {
  return card?.pictures.map(({ url, favourite }) => `${url} ${favourite}`).join("\n");
}

/** The page's one store. */
export const store = new Store();

/** In a component: what `select` finds, looked for again after each change of the topic. */
export function useStore(topic, select) {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => store.subscribe(again, topic), [topic]);
  return select(store);
}

