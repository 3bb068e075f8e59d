/** What to do with a picture that was dropped: draw it again by the parameters in its file, start from it, or refer to it. */

import { Refused, parameters } from "./api.js";
import { addReference, addStart, fillAgain, openPictures } from "./composer.js";
import { openMask } from "./mask.js";
import { Action } from "./parts.js";
import { html, useEffect, useLayoutEffect, useReducer, useRef } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";
import { Thumb, take } from "./thumbs.js";

/** Formats whose files may have parameters. */
const READ = new Set(["image/png", "image/jpeg", "image/webp"]);

let given = null;
const listeners = new Set();

function tell(next) {
  given = next;
  for (const listener of [...listeners]) listener();
}

/** Take a dropped or pasted picture: where its file says how it was drawn, somebody is asked what to do; else it is started from. */
export async function takePicture(file) {
  const read = READ.has(file.type) && file.size <= store.about.max_picture ? await ask(file) : null;
  if (!read?.tool) return started(file);
  const picture = await take(file, Infinity).catch(() => null);
  tell({ ...read, file, picture });
  return undefined;
}

async function ask(file) {
  try {
    return await parameters(file);
  } catch (error) {
    // It can still be started from.
    if (!(error instanceof Refused)) store.failed(error);
    return null;
  }
}

async function started(file) {
  await addStart(file, file.name);
  openPictures();
}

const FACTS = [
  ["model", "model"],
  ["seed", "seed"],
  ["steps", "steps"],
  ["guidance", "guidance"],
  ["sampler", "sampler"],
];

/** The dialog; it is there once, and opened by `takePicture`. */
export function Parameters() {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => {
    listeners.add(again);
    return () => listeners.delete(again);
  }, []);
  return given && html`<${Question} ...${given} />`;
}

function Question({ tool, form, notes, file, picture }) {
  const dialog = useRef();
  useEffect(() => {
    dialog.current.showModal();
    document.getElementById("parameters-again").focus();
  }, []);
  const leave = async (act) => {
    dialog.current.close();
    await act?.();
  };
  const { models } = store.about;
  const [starts, masks, edits] = ["image", "mask", "edit"].map((can) => models.some((model) => model.can.includes(can)));
  const value = (name) => (name === "model" ? (models.find((one) => one.name === form.model)?.title ?? form.model) : form[name]);
  const facts = FACTS.map(([name, label]) => [t(label), value(name)]).filter(([, said]) => said !== undefined && said !== "");
  if (form.width) facts.splice(1, 0, [t("size"), `${form.width} × ${form.height}`]);
  return html`
    <dialog ref=${dialog} id="parameters" class="sheet parameters" aria-labelledby="parameters-title" onClose=${() => tell(null)} onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
      <div class="sheet-body">
        <header class="drawer-top">
          <h2 id="parameters-title">${t("parameters", { tool })}</h2>
          <${Action} icon="close" bare label=${t("close")} onClick=${() => leave()} />
        </header>
        <div class="parameters-what">
          ${picture && html`<${Thumb} picture=${picture} />`}
          <div class="parameters-words">
            <p class="parameters-prompt">${form.prompt || t("parameters.no_prompt")}</p>
            ${form.negative && html`<p class="quiet">${t("negative")}: ${form.negative}</p>`}
          </div>
        </div>
        <dl class="facts">${facts.map(([label, said]) => html`<div key=${label}><dt>${label}</dt><dd>${String(said)}</dd></div>`)}</dl>
        ${form.loras?.length > 0 && html`<p class="quiet">${t("lora")}: ${form.loras.map(({ name, weight }) => `${name} ${weight}`).join(", ")}</p>`}
        ${notes.length > 0 && html`<ul class="parameters-notes">${notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
        <div class="parameters-acts">
          <button type="button" class="primary" id="parameters-again" onClick=${() => leave(() => fillAgain(form))}>${t("parameters.again")}</button>
          ${starts && html`<${Action} icon="image" id="parameters-start" label=${t("parameters.start")} onClick=${() => leave(() => started(file))} />`}
          ${edits && html`<${Action} icon="plus" label=${t("as_reference")} onClick=${() => leave(async () => (await addReference(file, file.name), openPictures()))} />`}
          ${masks && picture?.width > 0 && html`<${Action} icon="brush" label=${t("change_part")} onClick=${() => leave(() => openMask({ source: file, name: file.name }))} />`}
        </div>
      </div>
    </dialog>`;
}
