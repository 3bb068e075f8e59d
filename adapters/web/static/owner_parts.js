/** Parts that the owner's pages share: data that stays fresh, sections, buttons, questions, notices and bars. */

import { Refused } from "./api.js";
import { ago, get, moment, text } from "./owner_api.js";
import { useOnTop } from "./on_top.js";
import { html, useCallback, useEffect, useRef, useState } from "./preact.js";

const SAID_MS = 8000;

let last = 0;

/** An id that no other part of the page has. */
export function useId() {
  return useState(() => `o${(last += 1)}`)[0];
}

/** A sign of the sprite in owner.html, by its id without `i-`. */
export function Sign({ name }) {
  return html`<svg class="icon" aria-hidden="true"><use href=${`#i-${name}`} /></svg>`;
}

/** A button with a sign and words; with `bare` the words are shown when it is pointed at. */
export function Press({ sign, label, onClick, bare = false, danger = false, strong = false, ...rest }) {
  const kind = strong ? "primary slim" : ["plain", bare && "bare", danger && "danger"].filter(Boolean).join(" ");
  return html`<button type="button" class=${kind} title=${bare ? label : undefined} aria-label=${bare ? label : undefined} onClick=${onClick} ...${rest}>
    ${sign && html`<${Sign} name=${sign} />`}${!bare && html`<span>${label}</span>`}
  </button>`;
}

/** Data of a path, fetched again every few seconds while somebody looks, and when `after` changes: `[data, again, away]`. */
export function useData(path, every = 0, after = null) {
  const [state, setState] = useState({ path: null, data: null, away: false });
  const wanted = useRef(path);
  wanted.current = path;
  const again = useCallback(async () => {
    try {
      const data = await get(path);
      if (wanted.current === path) setState({ path, data, away: false });
    } catch (error) {
      if (wanted.current !== path) return;
      setState((old) => ({ path, data: old.path === path ? old.data : null, away: sentenceOf(error) }));
    }
  }, [path]);
  useEffect(() => {
    again();
    if (!every) return;
    const look = () => document.hidden || again();
    const timer = setInterval(look, every * 1000);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [again, every, after]);
  return [state.path === path ? state.data : null, again, state.path === path && state.away];
}

let tell = () => {};

/** Say a sentence at the edge of the page, and to people who listen. */
function say(sentence, bad = false) {
  document.getElementById("live").textContent = sentence;
  tell({ sentence, bad });
}

/** The place of notices, above every dialog; a notice goes away by itself. */
export function Said() {
  const [said, setSaid] = useState(null);
  const box = useOnTop(said);
  tell = setSaid;
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid((now) => (now === said ? null : now)), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  if (!said) return null;
  return html`<div ref=${box} id="said" popover="manual" class=${said.bad ? "said bad" : "said"}><p>${said.sentence}</p>
    <${Press} sign="close" bare label=${text("close")} onClick=${() => setSaid(null)} /></div>`;
}

/** The sentence of an error. */
const sentenceOf = (error) => (error instanceof Refused ? error.text : text("away"));

/** Say what went wrong. */
export const complain = (error) => say(sentenceOf(error), true);

/** Do something, say how it went, and look again; returns whether it went well. */
export async function act(work, sentence, again) {
  try {
    const answer = await work();
    say(typeof sentence === "function" ? sentence(answer) : sentence);
    return true;
  } catch (error) {
    complain(error);
    return false;
  } finally {
    await again?.();
  }
}

/** What is shown while nothing has come, or when nothing answers. */
export function Coming({ away }) {
  return away ? html`<p class="error" role="alert">${away}</p>` : html`<div class="coming" aria-busy="true"><span class="unseen">${text("loading")}</span></div>`;
}

/** A panel with a heading, controls (`side`) and a sentence about it. `sole`: the page's title says the same. */
export function Panel({ title, about, side, children, id, sole = false }) {
  const name = useId();
  return html`<section class="panel" aria-labelledby=${name} id=${id}>
    <header class=${sole ? "panel-top sole" : "panel-top"}><h2 id=${name} class=${sole ? "unseen" : undefined}>${title}</h2>${sole && html`<p class="panel-about quiet">${about}</p>`}${side}</header>
    ${!sole && about && html`<p class="panel-about quiet">${about}</p>`}
    ${children}
  </section>`;
}

/** A sentence where a list is empty. */
export function Nothing({ sign = "check", children }) {
  return html`<p class="nothing-here"><${Sign} name=${sign} /><span>${children}</span></p>`;
}

/** A time as how long ago it was; pointed at, when. */
export function Ago({ at }) {
  return html`<time datetime=${new Date(at * 1000).toISOString()} title=${moment(at)}>${ago(at)}</time>`;
}

/** A word with a colour of its own. */
export function Badge({ tone = "", children }) {
  return html`<span class=${`badge ${tone}`}>${children}</span>`;
}

/** A labelled control; `children` gets its id. */
export function Field({ label, about, children, wide = false }) {
  const id = useId();
  return html`<div class=${wide ? "field wide" : "field"}><label for=${id}>${label}</label>${children(id)}${about && html`<p class="about">${about}</p>`}</div>`;
}

/** A choice of few, as a list. */
export function Choose({ id, value, options, onChange, ...rest }) {
  return html`<select id=${id} value=${value} onChange=${(event) => onChange(event.currentTarget.value)} ...${rest}>
    ${options.map(([key, label]) => html`<option key=${key} value=${key} selected=${key === value}>${label}</option>`)}
  </select>`;
}

/** A line of text. */
export function Line({ id, value, onInput, ...rest }) {
  return html`<input id=${id} type="text" autocomplete="off" spellcheck="false" value=${value} onInput=${(event) => onInput(event.currentTarget.value)} ...${rest} />`;
}

/** A dialog with a form or a question. `done` returns whether it may close. */
export function Sheet({ title, action, danger = false, close, done, children }) {
  const [box, name] = [useRef(), useId()];
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.focus?.();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    if (await done()) close();
    else setBusy(false);
  };
  return html`<dialog ref=${box} class="sheet" aria-labelledby=${name} onClose=${close}>
    <form class="sheet-body" onSubmit=${submit}>
      <h2 id=${name}>${title}</h2>
      ${children}
      <div class="sheet-acts">
        <${Press} label=${text("cancel")} onClick=${close} />
        <button type="submit" class=${danger ? "primary slim danger" : "primary slim"} aria-disabled=${busy ? "true" : undefined}>${action}</button>
      </div>
    </form>
  </dialog>`;
}

/** A question before something that can't be taken back, or not easily. */
export function Question({ ask, close }) {
  if (!ask) return null;
  return html`<${Sheet} title=${ask.title} action=${ask.action} danger=${ask.danger ?? true} close=${close} done=${ask.done}><p>${ask.about}</p></${Sheet}>`;
}

/** A bar of progress, from 0 to 1; null while nobody knows. */
export function Bar({ part, label }) {
  const known = part !== null;
  return html`<div class=${known ? "bar" : "bar waiting"} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${known ? Math.round(100 * part) : undefined} style=${{ "--part": String(part ?? 0) }}><span></span></div>`;
}

/** Shares of a whole as one bar: parts are `{name, value, label, tone}`; what is left of `whole` stays empty. */
export function Shares({ parts, whole, label, rest }) {
  const shown = parts.filter(({ value }) => value > 0);
  const sum = shown.reduce((total, { value }) => total + value, 0);
  const all = Math.max(whole, sum, 1);
  let at = 0;
  return html`<figure class="shares">
    <svg class="shares-bar" viewBox="0 0 1000 28" preserveAspectRatio="none" role="img" aria-label=${`${label}: ${shown.map((part) => `${part.name} ${part.label}`).join(", ")}`}>
      ${shown.map((part) => {
        const width = (1000 * part.value) / all;
        at += width;
        return html`<rect class=${`share ${part.tone}`} x=${at - width} y="0" width=${Math.max(width, 1)} height="28"><title>${part.name}: ${part.label}</title></rect>`;
      })}
    </svg>
    <ul class="legend">
      ${shown.map((part) => html`<li key=${part.name}><span class=${`swatch ${part.tone}`}></span><span>${part.name}</span><b>${part.label}</b></li>`)}
      ${rest && html`<li><span class="swatch"></span><span>${rest.name}</span><b>${rest.label}</b></li>`}
    </ul>
  </figure>`;
}
