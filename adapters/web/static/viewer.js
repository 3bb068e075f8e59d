/** A picture large, in a dialog: Esc closes, arrow keys turn to the other pictures of the feed. */

import { Icon } from "./parts.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";

/** Open a picture; its address becomes the page's. */
export function openViewer(jobId, index) {
  location.hash = `#job/${jobId}/${index + 1}`;
}

/** The dialog. `at`: {job, index}, or null while it is closed; `close` leaves it. */
export function Viewer({ at, close }) {
  const dialog = useRef();
  const [open, setOpen] = useState(null);
  const card = useStore(`card:${at?.job}`, (store) => at && store.get(at.job));
  useEffect(() => setOpen(null), [at?.job, at?.index]);
  const position = card?.pictures.findIndex(({ index }) => index === at.index) ?? -1;
  const picture = card?.pictures[position];
  useEffect(() => {
    const { current } = dialog;
    if (picture && !current.open) current.showModal();
    if (!picture && current.open) current.close();
  }, [picture?.url]);
  const all = picture ? store.list().flatMap((one) => one.pictures.map(({ index }) => ({ job: one.job_id, index }))) : [];
  const turn = (by) => {
    const now = all.findIndex(({ job, index }) => job === at.job && index === at.index);
    const next = all[now + by];
    if (next) history.replaceState(null, "", `#job/${next.job}/${next.index + 1}`), dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const pressed = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    turn(by);
  };
  // The dialog covers everything: what is not the picture or a control is outside.
  const clicked = (event) => event.target.closest("img, figcaption, button") || dialog.current.close();
  const covered = picture?.spoiler && open !== picture.url;
  const said = picture && [
    card.pictures.length > 1 ? t("viewer.position", { index: position + 1, count: card.pictures.length }) : "",
    picture.seed === null ? "" : t("viewer.seed", { seed: picture.seed }),
  ].filter(Boolean).join(" · ");
  const style = picture && { "--width": `${picture.width * Math.max(1, 1.5 * store.enlarge(card))}px`, "--ratio": picture.width / picture.height };
  return html`
    <dialog ref=${dialog} id="viewer" class="viewer" aria-label=${t("viewer")} onClose=${close} onKeyDown=${pressed} onClick=${clicked}>
      ${picture &&
      html`<figure>
          <img id="viewer-picture" class=${covered ? "covered" : ""} style=${style} width=${picture.width} height=${picture.height} alt=${picture.alt} src=${picture.url} onClick=${() => setOpen(picture.url)} />
          <figcaption>
            <span id="viewer-caption" class="viewer-caption">${card.prompt}</span>
            <span id="viewer-position" class="viewer-position">${said}</span>
            <a id="viewer-download" class="round" href=${picture.download} download aria-label=${t("download")} title=${t("download")}><${Icon} name="download" /></a>
          </figcaption>
        </figure>
        <button id="viewer-previous" class="round" type="button" aria-label=${t("viewer.previous")} title=${t("viewer.previous")} onClick=${() => turn(-1)}><${Icon} name="previous" /></button>
        <button id="viewer-next" class="round" type="button" aria-label=${t("viewer.next")} title=${t("viewer.next")} onClick=${() => turn(1)}><${Icon} name="next" /></button>`}
      <button id="viewer-close" class="round" type="button" aria-label=${t("viewer.close")} title=${t("viewer.close")} onClick=${() => dialog.current.close()}><${Icon} name="close" /></button>
    </dialog>`;
}
