/** The view that says what a picture's file says of itself: what is verified, what is only claimed, and how it was drawn. */

import { Refused, inspect } from "./api.js";
import { fillAgain, giveTo } from "./composer.js";
import { Icon } from "./parts.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { store } from "./store.js";
import { announce, t } from "./texts.js";
import { Thumb, take } from "./thumbs.js";

function Facts({ title, facts, id }) {
  if (!facts.length) return null;
  return html`<section class="inspect-part" aria-labelledby=${id}>
    <h3 id=${id}>${title}</h3>
    <dl class="inspect-facts">${facts.map(({ label, value }) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
  </section>`;
}

function Recipe({ recipe, prompt, notes, form }) {
  const again = () => {
    scrollTo({ top: 0 });
    return fillAgain(form);
  };
  return html`<section class="inspect-part" aria-labelledby="inspect-recipe">
    <h3 id="inspect-recipe">${t("inspect.recipe")}</h3>
    <p class="inspect-prompt">${prompt || t("parameters.no_prompt")}</p>
    <dl class="inspect-facts">${recipe.map(({ label, value }) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
    ${notes.length > 0 && html`<ul class="parameters-notes">${notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
    <p><button type="button" class="primary" id="inspect-again" onClick=${again}>${t("parameters.again")}</button></p>
  </section>`;
}

function Found({ found, name, picture }) {
  const tone = found.faulty ? "problem" : found.marked ? "marked" : "unmarked";
  const signed = found.seal === "trusted";
  const head = useRef();
  useEffect(() => head.current.scrollIntoView({ block: "nearest" }), [found]);
  return html`<article ref=${head} id="inspect-found" class="inspect-found" data-tone=${tone}>
    <header class="inspect-head">
      ${picture && html`<${Thumb} picture=${picture} />`}
      <div>
        <h3 class="inspect-status"><${Icon} name=${found.faulty ? "alert" : found.marked ? "check" : "info"} />${found.status}</h3>
        <p class="quiet inspect-name">${name}</p>
        ${found.about.map((one) => html`<p key=${one} class="about inspect-believed">${one}</p>`)}
        ${found.problems.length > 0 && html`<ul class="inspect-problems">${found.problems.map((one) => html`<li key=${one}>${one}</li>`)}</ul>`}
      </div>
    </header>
    <${Facts} id="inspect-verified" title=${t("inspect.verified")} facts=${found.verified} />
    <${Facts} id="inspect-claimed" title=${t(signed ? "inspect.signed" : "inspect.claimed")} facts=${found.claimed} />
    ${found.tool && html`<${Recipe} ...${found} />`}
  </article>`;
}

/** The view. */
export function Inspect() {
  const [shown, setShown] = useState({});
  const asked = useRef(0);
  const read = async (file) => {
    if (!file) return undefined;
    const mine = ++asked.current;
    const most = store.about.max_file;
    if (file.size > most) return setShown({ name: file.name, refused: t("image.large", { limit: Math.floor(most / 2 ** 20) }) });
    setShown({ name: file.name, busy: true });
    const picture = await take(file, Infinity).catch(() => null);
    const next = { name: file.name, picture };
    try {
      next.found = await inspect(file);
    } catch (error) {
      if (error instanceof Refused) next.refused = error.text;
      else store.failed(error);
    }
    if (mine !== asked.current) return undefined; // another file was given meanwhile
    setShown(next);
    return announce(next.found?.status ?? next.refused ?? "");
  };
  useLayoutEffect(() => {
    giveTo(read);
    return () => giveTo(null);
  });
  const chosen = ({ target }) => {
    read(target.files[0]);
    target.value = ""; // the same file may be chosen again
  };
  const { name, busy, found, refused, picture } = shown;
  return html`<section id="inspect" class="inspect" aria-labelledby="inspect-title" aria-busy=${busy ? "true" : undefined}>
    <h2 id="inspect-title">${t("inspect")}</h2>
    <p id="inspect-about" class="quiet">${t("inspect.about")}</p>
    <div class="zone inspect-zone">
      <input id="inspect-file" type="file" accept="image/png,image/jpeg,image/webp" aria-describedby="inspect-about" aria-label=${t("inspect.drop")} onChange=${chosen} />
      <span class="zone-face"><${Icon} name="image" /><span>${busy ? t("inspect.busy", { name }) : t("inspect.drop")}</span></span>
    </div>
    ${refused && html`<p id="inspect-refused" class="error" role="alert">${name}: ${refused}</p>`}
    ${found && html`<${Found} found=${found} name=${name} picture=${picture} />`}
  </section>`;
}
