/** Before the first picture: what the demo model knows, as words to tap, or examples; and how to get a real model. */

import { submit } from "./composer.js";
import { draft, useDraft } from "./draft.js";
import { Action, Copy } from "./parts.js";
import { html, useState } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";
import { COLOURS, PLACES, THINGS } from "./words.js";

/** The profile whose words these are. */
const DEMO = "demo";
const PULL = "easel model pull z-image-turbo";
const SERVE = "EASEL_MODEL=z-image-turbo easel serve";
/** Things that are shown at once; the others come on request. */
const FIRST = 36;

const chinese = () => document.documentElement.lang.startsWith("zh");

/** A word in the page's language. */
const word = ([english, inChinese]) => (chinese() ? inChinese : english);

/** The prompt of what was tapped, as the demo model was taught to read it. */
function said({ thing, colour, place }) {
  if (!thing) return [colour, place].filter(Boolean).map(word).join(chinese() ? "，" : " ");
  if (chinese()) return `${place ? `${word(place)}的` : ""}一${thing[2]}${colour ? `${word(colour)}的` : ""}${word(thing)}`;
  const named = colour ? `${word(colour)} ${word(thing)}` : word(thing);
  return `${/^[aeiou]/.test(named) ? "an" : "a"} ${named}${place ? ` ${word(place)}` : ""}`;
}

async function draw(prompt) {
  draft.set({ prompt });
  await submit();
}

function Words() {
  const [chosen, setChosen] = useState({});
  const [all, setAll] = useState(false);
  const tap = (kind, one) => {
    const next = { ...chosen, [kind]: chosen[kind] === one ? null : one };
    setChosen(next);
    draft.set({ prompt: said(next) });
  };
  const any = (list) => list[Math.floor(Math.random() * list.length)];
  const surprise = () => draw(said({ thing: any(THINGS), colour: null, place: any(PLACES) }));
  const group = (kind, list) => html`
    <fieldset class="words">
      <legend>${t(`words.${kind}`)}</legend>
      ${list.map((one) => html`<button type="button" key=${one[0]} class="word" aria-pressed=${String(chosen[kind] === one)} onClick=${() => tap(kind, one)}>
        ${kind === "colour" && html`<span class="swatch" style=${{ background: one[0] }} aria-hidden="true"></span>`}${word(one)}</button>`)}
      ${kind === "thing" && !all && html`<button type="button" class="word more" onClick=${() => setAll(true)}>${t("words.all", { n: THINGS.length })}</button>`}
    </fieldset>`;
  return html`
    ${group("thing", all ? THINGS : THINGS.slice(0, FIRST))}
    <div class="words-pair">${group("colour", COLOURS)}${group("place", PLACES)}</div>
    <div class="examples">
      <button type="button" class="primary" onClick=${() => submit()} disabled=${!useDraft().fields.prompt.trim()}>${t("draw")}</button>
      <${Action} icon="reroll" label=${t("words.surprise")} onClick=${surprise} data-action="surprise" />
    </div>`;
}

export function Empty() {
  const { name } = store.about.models[0];
  const demo = name === DEMO;
  return html`
    <div id="empty" class="empty">
      <svg class="empty-easel" viewBox="0 0 200 170" aria-hidden="true" focusable="false">
        <path class="wood" d="M100 8v16M74 118 56 162M126 118l18 44M100 118v34M36 118h128" />
        <rect class="paper" x="48" y="24" width="104" height="84" rx="2" />
        <circle class="sun" cx="124" cy="50" r="9" />
        <path class="hill" d="M48.5 107.5 82 66l22 26 14-14 33.5 29.5Z" />
      </svg>
      <h2>${t("empty")}</h2>
      <p class="quiet">${t(demo ? "empty.demo" : "empty.about")}</p>
      ${demo
        ? html`<${Words} />`
        : html`<div id="examples" class="examples">
            ${["example.1", "example.2", "example.3"].map((key) => html`<button type="button" class="example" key=${key} onClick=${() => draw(t(key))}>${t(key)}</button>`)}
          </div>`}
      ${demo &&
      html`<section class="real" aria-labelledby="real">
        <h3 id="real">${t("real")}</h3>
        <p class="quiet">${t("real.about")}</p>
        <pre><code>${PULL}${"\n"}${SERVE}</code></pre>
        <${Copy} text=${`${PULL}\n${SERVE}`} label=${t("real.copy")} said=${t("real.copied")} />
      </section>`}
    </div>`;
}
