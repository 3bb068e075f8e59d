/** The queue behind its pill: what is drawn first, then what waits, one line each, to be cancelled. */

import { Action, Bar, Icon } from "./parts.js";
import { html, useRef } from "./preact.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";

function Line({ id }) {
  const card = useStore(`card:${id}`, (store) => store.get(id));
  if (!card || card.final) return null;
  const cancel = card.buttons.flat().find(({ action }) => action === "cancel");
  const stop = () => store.press(cancel.id).catch((error) => store.complain(error));
  return html`
    <li class="queue-line">
      <a href=${`#job/${id}`} class="queue-prompt">${card.prompt}</a>
      <span class="queue-status quiet">${card.status}</span>
      ${cancel && html`<${Action} icon="stop" label=${t("queue.cancel", { prompt: card.prompt })} bare onClick=${stop} />`}
      ${card.progress !== null && html`<${Bar} part=${card.progress} />`}
    </li>`;
}

/** The pill and its drawer; nothing while nothing is open. */
export function Queue() {
  const open = useStore("open", (store) => store.open().map(({ job_id: id }) => id));
  const box = useRef();
  const number = open.length;
  return html`
    <button type="button" id="queue-pill" class="queue-pill" popovertarget="queue" aria-haspopup="dialog" hidden=${!number}>
      <span class="dot busy" aria-hidden="true"></span><span>${number}<span class="pill-words"> ${t("queue.pill")}</span></span>
    </button>
    <div ref=${box} id="queue" class="drawer" popover="auto" role="dialog" aria-label=${t("queue")}>
      <div class="drawer-top">
        <h2>${t("queue")}</h2>
        ${number > 1 && html`<${Action} icon="stop" label=${t("queue.cancel_all")} danger data-action="cancel-all" onClick=${() => store.pressEach(open, "cancel")} />`}
        <button type="button" class="plain bare" popovertarget="queue" aria-label=${t("close")} title=${t("close")}><${Icon} name="close" /></button>
      </div>
      <ol class="queue-lines">${open.map((id) => html`<${Line} key=${id} id=${id} />`)}</ol>
      ${!number && html`<p class="quiet">${t("queue.empty")}</p>`}
    </div>`;
}
