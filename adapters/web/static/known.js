/** What the demo model knows, as words to tap, which make the prompt. */

import { draft, useDraft } from "./draft.js";
import { Chip } from "./parts.js";
import { html, useState } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";
import { COLOURS, PLACES, THINGS } from "./words.js";

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

/** A prompt of any thing in any place. */
export function surprise() {
  const any = (list) => list[Math.floor(Math.random() * list.length)];
  return said({ thing: any(THINGS), place: any(PLACES) });
}

/** Things, colours and places; `first`: how many things are shown at once, the others come on request. */
export function Words({ first = THINGS.length }) {
  const { prompt } = useDraft().fields;
  const [tapped, setTapped] = useState({});
  const [all, setAll] = useState(first >= THINGS.length);
  // Words that somebody has typed over are not chosen any more.
  const chosen = said(tapped) === prompt ? tapped : {};
  const tap = (kind, one) => {
    const next = { ...chosen, [kind]: chosen[kind] === one ? null : one };
    setTapped(next);
    draft.set({ prompt: said(next) });
    // What somebody wrote is not lost by it.
    if (prompt.trim() && chosen !== tapped) store.say(t("draft.replaced"), "info", () => draft.set({ prompt }));
  };
  const group = (kind, list) => html`
    <fieldset class="words">
      <legend>${t(`words.${kind}`)}</legend>
      ${list.map((one) => html`<button type="button" key=${one[0]} class="word" aria-pressed=${String(chosen[kind] === one)} onClick=${() => tap(kind, one)}>
        ${kind === "colour" && html`<span class="swatch" style=${{ background: one[0] }} aria-hidden="true"></span>`}${word(one)}</button>`)}
      ${kind === "thing" && !all && html`<button type="button" class="word more" onClick=${() => setAll(true)}>${t("words.all", { n: THINGS.length })}</button>`}
    </fieldset>`;
  return html`
    ${group("thing", all ? THINGS : THINGS.slice(0, first))}
    <div class="words-pair">${group("colour", COLOURS)}${group("place", PLACES)}</div>`;
}

/** The composer's chip that says what the demo model is. */
export function Known() {
  return html`
    <${Chip} name="words" label=${t("words")} wide>
      <div class="about"><p>${t("words.about", { n: THINGS.length })}</p><p>${t("words.others")}</p></div>
      <${Words} />
    <//>`;
}
