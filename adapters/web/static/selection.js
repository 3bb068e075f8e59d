/** The selected pictures, the bar that shows them, and what is done with many at once: star, download as ZIP, delete with undo. */

import { deleteJobs, newKey, undoDeletion, zip } from "./api.js";
import { Action } from "./parts.js";
import { html, useLayoutEffect, useReducer } from "./preact.js";
import { store } from "./store.js";
import { announce, t } from "./texts.js";

/** Most jobs of one deletion, and most pictures of one ZIP, as the service takes them. */
const MOST_DELETED = 200;
const MOST_ZIPPED = 500;
const KEPT_MS = 60000;

const key = (job, index) => `${job}/${index}`;

/** Pictures by job and index. Jobs that are selected in the feed (`store.selected`) count with all their pictures. */
class Selection {
  #keys = new Set();
  #listeners = new Set();

  /** Where a range begins: the picture that was selected last, as a key. */
  anchor = null;

  has(job, index) {
    return this.#keys.has(key(job, index)) || store.selected.has(job);
  }

  get size() {
    return this.pictures().length;
  }

  /** Select pictures, {job, index} each, or select them no more. */
  set(pictures, on) {
    for (const { job, index } of pictures) {
      // A job of the feed comes apart into its pictures when one of them is taken out.
      if (!on && store.selected.has(job)) {
        for (const one of store.get(job)?.pictures ?? []) this.#keys.add(key(job, one.index));
        store.select([job], false);
      }
      if (on) this.#keys.add(key(job, index));
      else this.#keys.delete(key(job, index));
    }
    this.#told();
  }

  toggle(picture) {
    this.set([picture], !this.has(picture.job, picture.index));
    this.anchor = key(picture.job, picture.index);
  }

  /** Select all from the anchor to a picture, in the order of `list`. */
  range(list, picture) {
    const at = (wanted) => list.findIndex(({ job, index }) => key(job, index) === wanted);
    const [from, to] = [at(this.anchor), at(key(picture.job, picture.index))];
    if (from < 0) return this.toggle(picture);
    this.set(list.slice(Math.min(from, to), Math.max(from, to) + 1), true);
  }

  clear() {
    this.#keys.clear();
    this.anchor = null;
    store.select([...store.selected], false);
    this.#told();
  }

  /** Leave out the pictures of jobs that are gone. */
  drop(jobs) {
    const gone = new Set(jobs);
    for (const one of [...this.#keys]) if (gone.has(Number(one.split("/")[0]))) this.#keys.delete(one);
    this.#told();
  }

  /** [[job, index], ...], newest first. */
  pictures() {
    const found = new Map([...this.#keys].map((one) => [one, one.split("/").map(Number)]));
    for (const job of store.selected) for (const { index } of store.get(job)?.pictures ?? []) found.set(key(job, index), [job, index]);
    return [...found.values()].sort(([a, i], [b, j]) => b - a || i - j);
  }

  /** Numbers of the jobs of the selected pictures. */
  jobs() {
    return [...new Set([...this.pictures().map(([job]) => job), ...store.selected])];
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    const end = store.subscribe(listener, "selected");
    return () => {
      end();
      this.#listeners.delete(listener);
    };
  }

  #told() {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** The page's one selection. */
export const selection = new Selection();

/** In a component: the selection, looked at again after each change. */
export function useSelection() {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => selection.subscribe(again), []);
  return selection;
}

/** Delete jobs: they are gone from the page at once, and come back where somebody takes it back. Resolves with whether they are gone. */
export async function removeJobs(ids) {
  const tokens = [];
  let deleted = 0;
  const back = async () => {
    try {
      for (const token of tokens) for (const card of (await undoDeletion(token)).cards) store.put(card);
      announce(t("deleted.back", { n: deleted }));
    } catch (error) {
      store.complain(error);
    }
  };
  try {
    for (let at = 0; at < ids.length; at += MOST_DELETED) {
      const part = ids.slice(at, at + MOST_DELETED);
      tokens.push((await deleteJobs(part, newKey())).undo);
      deleted += part.length;
      for (const id of part) store.gone(id);
      selection.drop(part);
    }
    store.say(t(ids.length === 1 ? "deleted.one" : "deleted.many", { n: ids.length }), "info", back);
    return true;
  } catch (error) {
    // What was deleted before can still be taken back.
    store.complain(error, deleted ? back : null);
    return false;
  }
}

/** Download the pictures, [[job, index], ...], as a ZIP, or as several where they are too many for one. */
async function download(pictures) {
  store.say(t("zip.begun", { n: pictures.length }));
  const day = new Date().toISOString().slice(0, 10);
  try {
    for (let at = 0; at < pictures.length; at += MOST_ZIPPED) {
      const file = await zip(pictures.slice(at, at + MOST_ZIPPED));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = pictures.length > MOST_ZIPPED ? `easel-${day}-${1 + at / MOST_ZIPPED}.zip` : `easel-${day}.zip`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
    }
    store.say("");
  } catch (error) {
    store.complain(error);
  }
}

/** Star the pictures that have no star; where all have one, take it off. */
async function starAll(pictures) {
  const found = pictures.flatMap(([job, index]) => {
    const picture = store.get(job)?.pictures.find((one) => one.index === index);
    return picture ? [{ job, index, favourite: picture.favourite }] : [];
  });
  const off = found.every(({ favourite }) => favourite);
  for (const { job, index, favourite } of found) if (off || !favourite) await store.star(job, index);
  announce(t(off ? "stars.off" : "stars.on", { n: found.length }));
}

/** The bar at the page's foot while something is selected. */
export function SelectionBar() {
  const chosen = useSelection();
  const pictures = chosen.pictures();
  const jobs = chosen.jobs();
  if (!jobs.length) return null;
  return html`
    <section id="selection" class="selection" aria-label=${t("selection")}>
      <p class="selection-count" aria-live="polite">${t("selection.count", { n: pictures.length })}</p>
      ${pictures.length > 0 && html`
        <${Action} icon="star" label=${t("selection.star")} data-many="star" onClick=${() => starAll(pictures)} />
        <${Action} icon="download" label=${t("selection.zip")} data-many="zip" onClick=${() => download(pictures)} />`}
      <${Action} icon="bin" label=${t(jobs.length === 1 ? "selection.delete.one" : "selection.delete", { n: jobs.length })} danger data-many="delete" onClick=${() => removeJobs(jobs)} />
      <${Action} icon="close" bare label=${t("selection.clear")} data-many="clear" onClick=${() => selection.clear()} />
    </section>`;
}
