/** Many requests from a list of prompts, one a line: sent one after another, each under its own key, and resumed where they stopped. */

import { Refused, draw, newKey, quota } from "./api.js";
import { draft, useDraft } from "./draft.js";
import * as keep from "./keep.js";
import { Action, Bar, Icon } from "./parts.js";
import { html, useEffect, useLayoutEffect, useReducer, useRef, useState } from "./preact.js";
import { store } from "./store.js";
import { announce, t } from "./texts.js";

const KEPT = "batch";
/** Most requests of one list. */
const MOST = 500;

/** The list that is being sent: {items: [{key, prompt}], sent, form, files}. It is kept over reloads. */
class Batch {
  list = null;
  running = false;

  /** Why it has stopped: {text, prompt}, or null. */
  stopped = null;

  /** Whether the dialog is open. */
  shown = false;

  #listeners = new Set();

  show(shown) {
    this.shown = shown;
    this.#told();
  }

  async open() {
    this.list = (await keep.get(KEPT)) ?? null;
    this.#told();
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #told() {
    for (const listener of [...this.#listeners]) listener();
  }

  get left() {
    return this.list ? this.list.items.length - this.list.sent : 0;
  }

  /** Begin a new list with what stands in the composer besides the prompt. */
  async begin(prompts, count) {
    const { prompt: _, ...form } = draft.body();
    if (count !== "1") form.count = count;
    else delete form.count;
    this.list = { items: prompts.map((prompt) => ({ key: newKey(), prompt })), sent: 0, form, files: draft.files() };
    await keep.set(KEPT, this.list);
    await this.run();
  }

  /** Send what is left, until it is done, paused, or refused. */
  async run() {
    if (this.running || !this.left) return;
    this.running = true;
    this.stopped = null;
    this.#told();
    try {
      while (this.running && this.left) await this.#next();
    } catch (error) {
      store.failed(error);
      const { prompt } = this.list.items[this.list.sent];
      this.stopped = { prompt, text: error instanceof Refused ? error.text : t("batch.away") };
      announce(this.stopped.text);
    }
    this.running = false;
    if (this.list && !this.left) {
      store.say(t("batch.done", { n: this.list.items.length }));
      await this.drop();
    }
    this.#told();
  }

  async #next() {
    const { items, sent, form, files } = this.list;
    const { key, prompt } = items[sent];
    const { card } = await draw({ ...form, prompt }, key, files);
    store.put(card);
    // Sent again after a crash in between, it has the same key, and is drawn once.
    this.list = { ...this.list, sent: sent + 1 };
    await keep.set(KEPT, this.list);
    this.#told();
  }

  pause() {
    this.running = false;
    this.#told();
  }

  /** Leave out the request at which it stopped. */
  async skip() {
    this.list = { ...this.list, sent: this.list.sent + 1 };
    this.stopped = null;
    await keep.set(KEPT, this.list);
    if (this.left) await this.run();
    else await this.drop();
  }

  /** Forget the list; what was sent is drawn. */
  async drop() {
    this.list = this.stopped = null;
    this.running = false;
    await keep.set(KEPT, null);
    this.#told();
  }
}

const batch = new Batch();

function useBatch() {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => batch.subscribe(again), []);
  return batch;
}

const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** What the quota says, in the words of its card. */
function Quota() {
  const [card, setCard] = useState(null);
  useEffect(() => {
    quota().then(({ card: found }) => setCard(found), (error) => store.complain(error));
  }, []);
  if (!card) return null;
  return html`<div class="batch-quota"><p>${card.status}</p>
    ${card.facts.length > 0 && html`<dl class="facts">${card.facts.map(({ label, value }) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`}
    ${card.notes.map((note) => html`<p class="quiet" key=${note}>${note}</p>`)}
  </div>`;
}

function Writing({ close }) {
  const current = useDraft();
  const [text, setText] = useState(current.fields.prompt);
  const [count, setCount] = useState(current.fields.count || "1");
  const prompts = linesOf(text);
  const each = Math.max(1, Number.parseInt(count, 10) || 1);
  const tooMany = prompts.length > MOST;
  const begin = () => {
    if (!prompts.length || tooMany) return;
    batch.begin(prompts, String(each));
    current.set({ prompt: "" });
    close();
  };
  const said = tooMany ? t("batch.most", { most: MOST }) : t(prompts.length === 1 ? "batch.count.one" : "batch.count", { n: prompts.length, pictures: prompts.length * each });
  return html`
    <p class="about">${t("batch.about")}</p>
    <div class="field"><label for="batch-prompts">${t("batch.prompts")}</label>
      <textarea id="batch-prompts" rows="8" value=${text} aria-describedby="batch-count" onInput=${({ target }) => setText(target.value)}></textarea></div>
    <div class="field batch-each"><label for="batch-each">${t("batch.each")}</label>
      <input id="batch-each" type="number" min="1" max=${store.about.max_count} inputmode="numeric" value=${count} onInput=${({ target }) => setCount(target.value)} /></div>
    <p id="batch-count" class=${tooMany ? "error" : "batch-said"} role="status">${said}</p>
    <${Quota} />
    <button type="button" class="primary" id="batch-begin" aria-disabled=${!prompts.length || tooMany ? "true" : undefined} onClick=${begin}>${t("batch.begin")}</button>`;
}

function Sending() {
  const { list, running, stopped, left } = useBatch();
  const { length } = list.items;
  return html`
    <p class="batch-said" role="status" id="batch-progress">${t("batch.progress", { sent: list.sent, n: length })}</p>
    <${Bar} part=${list.sent / length} />
    ${stopped && html`<div class="error" role="alert" id="batch-stopped"><p>${stopped.text}</p><p class="batch-at">${t("batch.at", { number: list.sent + 1, prompt: stopped.prompt })}</p></div>`}
    ${stopped && html`<${Quota} key=${list.sent} />`}
    <div class="parameters-acts">
      ${running
        ? html`<${Action} icon="stop" label=${t("batch.pause")} id="batch-pause" onClick=${() => batch.pause()} />`
        : html`<button type="button" class="primary" id="batch-resume" onClick=${() => batch.run()}>${t("batch.resume", { n: left })}</button>`}
      ${stopped && html`<${Action} label=${t("batch.skip")} id="batch-skip" onClick=${() => batch.skip()} />`}
      <${Action} icon="bin" label=${t("batch.drop", { n: left })} danger id="batch-drop" onClick=${() => batch.drop()} />
    </div>`;
}

/** The composer's chip that opens the dialog; it shows how far a list is. */
export function BatchButton() {
  const { list, stopped, running } = useBatch();
  useEffect(() => {
    batch.open();
  }, []);
  const name = list ? t(running ? "batch.chip.running" : "batch.chip.stopped", { sent: list.sent, n: list.items.length }) : t("batch.title");
  return html`
    <button type="button" id="chip-batch" class=${list ? "chip set" : "chip"} aria-haspopup="dialog" aria-label=${name} title=${name} onClick=${() => batch.show(true)}>
      <${Icon} name=${stopped ? "alert" : "rows"} /><span class="chip-label">${t("batch")}</span>${list && html`<span class="chip-value">${list.sent}/${list.items.length}</span>`}
    </button>`;
}

/** The dialog; it is there once, and opened by the chip. */
export function BatchDialog() {
  const { list, shown } = useBatch();
  const dialog = useRef();
  useEffect(() => {
    if (!shown) return;
    dialog.current.showModal();
    dialog.current.querySelector("textarea, .primary")?.focus();
  }, [shown]);
  if (!shown) return null;
  const close = () => dialog.current.close();
  return html`
    <dialog ref=${dialog} id="batch" class="sheet" aria-labelledby="batch-title" onClose=${() => batch.show(false)} onClick=${(event) => event.target === dialog.current && close()}>
      <div class="sheet-body batch">
        <header class="drawer-top"><h2 id="batch-title">${t("batch.title")}</h2><${Action} icon="close" bare label=${t("close")} onClick=${close} /></header>
        ${list ? html`<${Sending} />` : html`<${Writing} close=${close} />`}
      </div>
    </dialog>`;
}
