/** The top of the page: the name, feed or grid, the queue, the engine's state, help and the account. */

import { Account } from "./account.js";
import { Action, Bar, Icon } from "./parts.js";
import { html } from "./preact.js";
import { Queue } from "./queue.js";
import { useStore } from "./store.js";
import { t } from "./texts.js";

const GIGA = 1e9;

function Engine() {
  const { engine, model } = useStore("engine", (store) => store.about);
  const away = useStore("engine", (store) => store.away);
  const where = engine.device ? t("engine.where", { model: model.title, device: engine.device }) : model.title;
  return html`<p id="engine" class="engine" role="status" data-phase=${away ? "away" : engine.phase}>
    <span class="dot" aria-hidden="true"></span><span id="engine-text">${where}</span>
  </p>`;
}

/** What hinders drawing, while something does. */
export function Banner() {
  const { engine } = useStore("engine", (store) => store.about);
  const away = useStore("engine", (store) => store.away);
  const warm = ["warm", "idle"].includes(engine.phase); // idle: it loads by itself when asked
  const { phase, bytes_done: done, bytes_total: total } = engine;
  const bytes = !away && phase === "downloading" && total > 0;
  let more = engine.problem || (phase === "broken" ? "" : t("engine.wait"));
  if (bytes) more = t("engine.bytes", { done: (done / GIGA).toFixed(1), total: (total / GIGA).toFixed(1) });
  return html`<div id="engine-banner" class=${away || phase === "broken" ? "banner bad" : "banner"} role="status" hidden=${warm && !away}>
    <p id="engine-banner-text">${away ? t("away") : engine.text}</p>
    ${!away && html`<p id="engine-banner-more" class="quiet">${more}</p>`}
    ${bytes && html`<${Bar} part=${done / total} />`}
  </div>`;
}

/** `view`: what is shown; `help` opens the list of keys. */
export function Header({ view, help }) {
  const link = (name, icon) => html`<a href=${`#${name}`} class="tab" aria-current=${view === name ? "page" : undefined}><${Icon} name=${icon} /><span>${t(name)}</span></a>`;
  return html`
    <header class="top">
      <h1 class="brand"><${Icon} name="easel" />Easel</h1>
      <nav class="tabs" aria-label=${t("views")}>${link("feed", "rows")}${link("grid", "grid")}</nav>
      <${Queue} />
      <${Engine} />
      <${Action} icon="keys" bare label=${t("keys")} onClick=${help} id="help" aria-keyshortcuts="?" />
      <${Account} />
    </header>`;
}
