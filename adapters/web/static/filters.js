/** The search of the grid: words, kind, model, day and stars as chips; the page's address holds the search. */

import { replaceHash } from "./address.js";
import { Action, Chip, Icon } from "./parts.js";
import { html, useEffect, useRef } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";

/** Kinds of requests, as the feed's address takes them. */
const KINDS = ["draw", "reroll", "seed", "vary", "upscale", "edit", "start"];
const DAY_MS = 864e5;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const TYPED_MS = 300;

/** What an address asks for behind `#grid?`: {words, kind, model, from, to, starred}. */
function parse(hash) {
  const asked = new URLSearchParams(hash);
  const day = (name) => (DAY.test(asked.get(name) ?? "") ? asked.get(name) : "");
  const kind = asked.get("kind") ?? "";
  return {
    words: (asked.get("q") ?? "").trim(),
    kind: KINDS.includes(kind) ? kind : "",
    model: asked.get("model") ?? "",
    from: day("from"),
    to: day("to"),
    starred: asked.get("starred") === "1",
  };
}

/** What the service is asked for; null where everything is shown. */
export function wanted(hash) {
  const { words, kind, model, from, to, starred } = parse(hash);
  // The service's days are those of UTC: a day more on both sides, of which `fits` leaves out what is too much.
  const q = [words, model && `model:${model}`, from && `after:${moved(from, -1)}`, to && `before:${moved(to, 2)}`].filter(Boolean).join(" ");
  return q || kind || starred ? { q, kind, starred: starred ? "1" : "" } : null;
}

function moved(day, by) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + by * DAY_MS).toISOString().slice(0, 10);
}

/** Whether a card is of the days that an address asks for, in this browser's time zone. */
export function fits(card, hash) {
  const { from, to } = parse(hash);
  if (!card.created_at || !(from || to)) return true;
  const at = new Date(card.created_at);
  return (!from || at >= new Date(`${from}T00:00`)) && (!to || at < new Date(new Date(`${to}T00:00`).getTime() + DAY_MS));
}

function show(filters) {
  const { words, kind, model, from, to, starred } = filters;
  const given = Object.entries({ q: words, kind, model, from, to, starred: starred ? "1" : "" }).filter(([, value]) => value);
  const query = String(new URLSearchParams(given));
  replaceHash(query ? `#grid?${query}` : "#grid");
}

function Choices({ name, label, values, chosen, choose }) {
  return html`<div class="choice" role="radiogroup" aria-label=${label}>
    ${values.map(([value, title]) => html`<label key=${value}><input type="radio" name=${name} value=${value} checked=${value === chosen} onChange=${() => choose(value)} /><span><span class="choice-title">${title}</span></span></label>`)}
  </div>`;
}

/** `count`: how many pictures are here; `more`: whether there are older ones; `refused`: what is wrong with the search. */
export function Filters({ hash, count, more, refused }) {
  const filters = parse(hash);
  const { words, kind, model, from, to, starred } = filters;
  // Of what the address asks for now: a word may be taken over when another filter has changed.
  const latest = useRef();
  latest.current = filters;
  const set = (changed) => show({ ...latest.current, ...changed });
  const timer = useRef(0);
  const input = useRef();
  useEffect(() => {
    // Filters may be taken off elsewhere; a word that is being typed stays.
    if (document.activeElement !== input.current) input.current.value = words;
  }, [words]);
  const typed = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => input.current && set({ words: input.current.value.trim() }), TYPED_MS);
  };
  const submit = (event) => {
    event.preventDefault();
    clearTimeout(timer.current);
    set({ words: input.current.value.trim() });
  };
  const { models } = store.about;
  const title = (name) => models.find((one) => one.name === name)?.title ?? name;
  const days = [from, to].filter(Boolean).map((day) => new Date(`${day}T00:00`).toLocaleDateString(document.documentElement.lang, { dateStyle: "medium" }));
  const on = [
    words && ["words", t("filters.words", { words }), { words: "" }],
    kind && ["kind", t(`kind.${kind}`), { kind: "" }],
    model && ["model", title(model), { model: "" }],
    (from || to) && ["day", from === to || days.length === 1 ? `${from ? "" : "… – "}${days[0]}${to ? "" : " – …"}` : days.join(" – "), { from: "", to: "" }],
    starred && ["starred", t("search.favourites"), { starred: false }],
  ].filter(Boolean);
  let said = "";
  if (on.length && (count || !more)) said = t(count === 1 ? "search.found.one" : more ? "search.found.more" : "search.found", { n: count });
  return html`
    <form id="search" class="filters" role="search" onSubmit=${submit}>
      <div class="filters-words">
        <${Icon} name="search" />
        <input ref=${input} id="query" type="search" placeholder=${t("search")} aria-label=${t("search")} maxlength="200" enterkeyhint="search" aria-describedby="found" onInput=${typed} />
      </div>
      <div class="filters-chips">
        <${Action} icon="star" id="only-favourites" label=${t("search.favourites")} pressed=${starred} onClick=${() => set({ starred: !starred })} />
        <${Chip} name="kind" label=${t("filters.kind")} set=${Boolean(kind)}>
          <${Choices} name="filter-kind" label=${t("filters.kind")} chosen=${kind} choose=${(value) => set({ kind: value })} values=${[["", t("filters.any")], ...KINDS.map((one) => [one, t(`kind.${one}`)])]} />
        <//>
        ${models.length > 1 && html`<${Chip} name="filter-model" label=${t("model")} set=${Boolean(model)}>
          <${Choices} name="filter-model" label=${t("model")} chosen=${model} choose=${(value) => set({ model: value })} values=${[["", t("filters.any")], ...models.map((one) => [one.name, one.title])]} />
        <//>`}
        <${Chip} name="day" label=${t("filters.day")} set=${Boolean(from || to)}>
          <div class="pair">
            <div class="field"><label for="filter-from">${t("filters.from")}</label><input id="filter-from" type="date" value=${from} max=${to} onChange=${({ target }) => set({ from: target.value })} /></div>
            <div class="field"><label for="filter-to">${t("filters.to")}</label><input id="filter-to" type="date" value=${to} min=${from} onChange=${({ target }) => set({ to: target.value })} /></div>
          </div>
        <//>
      </div>
      ${on.length > 0 && html`<ul class="filters-on" aria-label=${t("filters.on")}>
        ${on.map(([name, label, off]) => html`<li key=${name}><button type="button" class="filter-on" data-filter=${name} aria-label=${t("filters.off", { filter: label })} onClick=${() => set(off)}><span>${label}</span><${Icon} name="close" /></button></li>`)}
        ${on.length > 1 && html`<li><a class="filter-clear" href="#grid">${t("filters.clear")}</a></li>`}
      </ul>`}
      <p id="found" class=${refused ? "error" : "about"} role="status">${refused || said}</p>
    </form>`;
}
