/** Before the first picture: what the demo model knows, as words to tap, or examples; and how to get a real model. */

import { submit } from "./composer.js";
import { draft, useDraft } from "./draft.js";
import { surprise, Words } from "./known.js";
import { Action, Copy } from "./parts.js";
import { html } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";

const PULL = "easel model pull z-image-turbo";
const SERVE = "EASEL_MODEL=z-image-turbo easel serve";
/** Things that are shown at once; the others come on request. */
const FIRST = 36;

async function draw(prompt) {
  draft.set({ prompt });
  await submit();
}

function Start() {
  const { prompt } = useDraft().fields;
  return html`
    <div class="examples">
      <button type="button" class="primary" onClick=${() => submit()} disabled=${!prompt.trim()}>${t("draw")}</button>
      <${Action} icon="reroll" label=${t("words.surprise")} onClick=${() => draw(surprise())} data-action="surprise" />
    </div>`;
}

/** How to get a real model: for an owner the commands, for others who it is that can. */
function Real() {
  if (!store.about.account?.owner) return html`<p class="quiet">${t("words.others")}</p>`;
  return html`
    <section class="real" aria-labelledby="real">
      <h3 id="real">${t("real")}</h3>
      <p class="quiet">${t("real.about")}</p>
      <pre><code>${PULL}${"\n"}${SERVE}</code></pre>
      <${Copy} text=${`${PULL}\n${SERVE}`} label=${t("real.copy")} said=${t("real.copied")} />
    </section>`;
}

export function Empty() {
  const { demo } = store.about.models[0];
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
        ? html`<${Words} first=${FIRST} /><${Start} />`
        : html`<div id="examples" class="examples">
            ${["example.1", "example.2", "example.3"].map((key) => html`<button type="button" class="example" key=${key} onClick=${() => draw(t(key))}>${t(key)}</button>`)}
          </div>`}
      ${demo && html`<${Real} />`}
    </div>`;
}
