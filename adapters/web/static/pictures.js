/** The composer's chip for pictures: one to start from or to follow, and references that the prompt edits, in order. */

import { referencesAbout, useDraft } from "./draft.js";
import { Action, Chip, FieldError, Icon, invalid } from "./parts.js";
import { MaskButton } from "./mask.js";
import { html, useRef } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";
import { Thumb, named } from "./thumbs.js";

/** A place to choose files, to drop them or to paste them. */
function Zone({ id, words, many = false, disabled, onFiles }) {
  const draft = useDraft();
  const chosen = async (event) => {
    const { target } = event;
    await onFiles([...target.files]);
    target.value = ""; // the same file may be chosen again
  };
  return html`
    <div id=${`${id}-zone`} class="zone">
      <input id=${id} type="file" accept="image/*" multiple=${many} disabled=${disabled} aria-describedby=${`${id}-about`} onChange=${chosen} ...${invalid(id, draft)} />
      <span class="zone-face"><${Icon} name="image" /><span>${words}</span></span>
    </div>`;
}

function Slider({ id, name, label, low, high, about }) {
  const draft = useDraft();
  const value = draft.fields[name];
  return html`
    <div id=${`${id}-field`} class="slider">
      <label for=${id}><span>${label}</span> <output>${value}</output></label>
      <input id=${id} type="range" min=${low} max=${high} step="0.05" value=${value} aria-describedby=${about && `${id}-about`}
        onInput=${(event) => draft.set({ [name]: event.target.value })} ...${invalid(id, draft)} />
      ${about && html`<p id=${`${id}-about`} class="about">${about}</p>`}
      <${FieldError} of=${id} />
    </div>`;
}

function Start() {
  const draft = useDraft();
  const { start, chosen, fields, references } = draft;
  const { controls } = chosen;
  const able = chosen.can.includes("image") || controls.length > 0;
  const about = references.length ? t("image.references") : able ? "" : t("image.none");
  const remove = async () => {
    draft.removeStart();
    await null; // until it is rendered
    document.getElementById("image").focus();
  };
  return html`
    <div id="image-field" class="field image">
      <label for="image">${t("image")}</label>
      ${start
        ? html`<div id="image-kept" class="kept">
            <${Thumb} picture=${start} />
            <span id="image-name" class="kept-name">${named(start)}</span>
            <${Action} icon="close" bare label=${t("image.remove")} id="image-remove" onClick=${remove} />
          </div>`
        : html`<${Zone} id="image" words=${t("image.drop")} disabled=${references.length > 0} onFiles=${([file]) => file && draft.setStart(file)} />`}
      ${start && html`<${MaskButton} />`}
      <p id="image-about" class="about">${about}</p>
      <${FieldError} of="image" />
      ${start && controls.length > 0 &&
      html`<div id="control-field" class="slider">
        <label for="control">${t("control")}</label>
        <select id="control" aria-describedby="control-about" value=${fields.control} onChange=${(event) => draft.set({ control: event.target.value })} ...${invalid("control", draft)}>
          <option value="">${t("control.none")}</option>
          ${controls.map((kind) => html`<option key=${kind} value=${kind}>${kind}</option>`)}
        </select>
        <p id="control-about" class="about">${t("control.about")}</p>
        <${FieldError} of="control" />
      </div>`}
      ${start && fields.control && html`<${Slider} id="control-weight" name="control_weight" label=${t("control_weight")} low="0" high="2" />`}
      ${start && !fields.control && html`<${Slider} id="strength" name="strength" label=${t("strength")} low="0.05" high="1" about=${t("strength.about")} />`}
    </div>`;
}

function Reference({ picture, index, count, dragged }) {
  const draft = useDraft();
  const item = useRef();
  const number = index + 1;
  const move = async (to, action) => {
    const list = item.current.parentElement;
    draft.moveReference(index, to);
    await null; // until it is rendered
    const moved = list.children[to];
    const again = moved?.querySelector(`.reference-${action}`);
    (again?.disabled ? moved.querySelector("button:not(:disabled)") : again)?.focus();
  };
  const remove = async () => {
    const list = item.current.parentElement;
    draft.removeReference(index);
    await null; // until it is rendered
    // The one in its place, or where the next one comes from.
    const next = list.children[Math.min(index, draft.references.length - 1)];
    (next?.querySelector(".reference-remove") ?? document.getElementById("references")).focus();
  };
  const target = (on) => item.current.classList.toggle("target", on);
  // With a mouse, one is dragged to the place of another.
  const drag = {
    onDragStart: (event) => {
      dragged.current = index;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("application/x-easel-reference", String(index)); // no text, so that no field takes it
    },
    onDragEnd: () => (dragged.current = null),
    onDragOver: (event) => {
      if (dragged.current === null) return;
      event.preventDefault();
      target(dragged.current !== index);
    },
    onDragLeave: () => target(false),
    onDrop: (event) => {
      if (dragged.current === null) return;
      event.preventDefault();
      target(false);
      draft.moveReference(dragged.current, index);
    },
  };
  const button = (action, icon, label, act, disabled = false) =>
    html`<button type="button" class=${`reference-${action}`} title=${label} aria-label=${label} disabled=${disabled} onClick=${act}><${Icon} name=${icon} /></button>`;
  return html`
    <li ref=${item} class="reference" draggable="true" title=${named(picture)} ...${drag}>
      <span class="reference-picture"><${Thumb} picture=${picture} /></span>
      <span class="reference-number" aria-hidden="true">${number}</span>
      <span class="reference-name unseen">${named(picture)}</span>
      <span class="reference-acts">
        ${count > 1 && button("earlier", "previous", t("references.earlier", { number }), () => move(index - 1, "earlier"), index === 0)}
        ${button("remove", "close", t("references.remove", { number }), remove)}
        ${count > 1 && button("later", "next", t("references.later", { number }), () => move(index + 1, "later"), number === count)}
      </span>
    </li>`;
}

function References() {
  const draft = useDraft();
  const dragged = useRef(null);
  const { references, room } = draft;
  return html`
    <div id="references-field" class="field image">
      <label for="references">${t("references")}</label>
      <ol id="reference-list" class="references" aria-label=${t("references")} hidden=${!references.length}>
        ${references.map((picture, index) => html`<${Reference} key=${picture.number} picture=${picture} index=${index} count=${references.length} dragged=${dragged} />`)}
      </ol>
      ${(!references.length || references.length < room) &&
      html`<${Zone} id="references" words=${t("references.drop")} many disabled=${!room} onFiles=${(files) => files.length && draft.addReferences(files)} />`}
      <p id="references-about" class="about">${referencesAbout(draft)}</p>
      <${FieldError} of="references" />
    </div>`;
}

export function Pictures() {
  const draft = useDraft();
  const { models } = store.about;
  const shown = [draft.start, ...draft.references].filter(Boolean);
  const thumbs = shown.length > 0 && html`<span class="chip-thumbs">${shown.map((picture) => html`<${Thumb} key=${picture.number} picture=${picture} />`)}</span>`;
  return html`
    <${Chip} name="pictures" label=${t("pictures")} icon="image" value=${thumbs} set=${shown.length > 0} wide>
      ${models.some(({ can, controls }) => can.includes("image") || controls.length) && html`<${Start} />`}
      ${models.some(({ can }) => can.includes("edit")) && html`<${References} />`}
    <//>`;
}
