/** The composer: a prompt, Draw, and chips for everything else. What was typed goes out as it is; the service checks it. */

import { Away, Refused } from "./api.js";
import { BatchButton } from "./batch.js";
import { draft, useDraft } from "./draft.js";
import { Count, Loras, Model, Size, Style } from "./fields.js";
import { Known } from "./known.js";
import { More } from "./more.js";
import { Icon, FieldError, invalid, openAround } from "./parts.js";
import { takePicture } from "./parameters.js";
import { Pictures } from "./pictures.js";
import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";

/** Refusals name what they are about in their key's second word; these fields are called otherwise on the page. */
const FIELDS = { size: "own-size", clip_skip: "clip-skip", control_weight: "control-weight", mask: "image" };
const TALLEST = 0.4;

/** Take over what a card's recipe says, or a part of it; what it does not name stays as it is. */
export async function fillComposer(recipe) {
  const { models } = draft.about;
  const fields = {};
  if (recipe.model !== undefined) fields.model = recipe.model === models[0].name ? "" : recipe.model;
  const model = models.find(({ name }) => name === (recipe.model ?? draft.chosen.name)) ?? models[0];
  for (const name of ["prompt", "seed", "steps", "guidance", "sampler", "count", "style", "clip_skip", "strength", "control", "control_weight"]) {
    if (recipe[name] === undefined) continue;
    const value = recipe[name] === null ? "" : String(recipe[name]);
    const usual = { steps: model.steps.default, guidance: model.guidance.default, sampler: model.sampler, clip_skip: model.clip_skip?.default ?? 0 }[name];
    fields[name] = value === String(usual ?? "") ? "" : value;
  }
  if (fields.count === "") fields.count = "1";
  if (recipe.label !== undefined) fields.label = recipe.label;
  if (recipe.negative !== undefined) Object.assign(fields, { negative: recipe.negative, negative_changed: recipe.negative !== model.negative_default });
  if (recipe.width && recipe.height) {
    const [preset] = Object.entries(model.presets).find(([, [width, height]]) => width === recipe.width && height === recipe.height) ?? [""];
    Object.assign(fields, { preset, size: preset ? "" : `${recipe.width}x${recipe.height}` });
  }
  const before = { ...draft.fields };
  if (recipe.loras) fields.loras = recipe.loras.map(({ name, weight }) => [name, weight]);
  draft.set(fields);
  // What somebody wrote is not lost by it.
  const lost = before.prompt.trim() && before.prompt !== draft.fields.prompt;
  if (lost) store.say(t("draft.replaced"), "info", () => draft.set(before));
  // Pictures of another request would change this one.
  if (recipe.start === null) draft.removeStart();
  if (recipe.references) while (draft.references.length) draft.removeReference(0);
  if (recipe.start) await addStart(recipe.start, recipe.start.split("/").at(-1));
  const mask = recipe.start && recipe.mask && (await blobOf(recipe.mask));
  if (mask) draft.setMask(mask);
  for (const url of recipe.references ?? []) await addReference(url, url.split("/").at(-1));
  focusPrompt();
}

/** Put into the form how a picture was drawn; what its file does not say is as usual. */
export function fillAgain(form) {
  return fillComposer({ negative: "", seed: "", steps: null, guidance: null, sampler: "", clip_skip: null, style: "", count: 1, label: false, ...form });
}

/** Start from a picture: a Blob, or the address of one of this service. */
export async function addStart(blobOrUrl, name, from = storedAt(blobOrUrl)) {
  const blob = await blobOf(blobOrUrl);
  if (!blob) return;
  while (draft.references.length) draft.removeReference(0);
  await draft.setStart(blob, name, from);
}

/** Add a picture to those that the prompt edits: a Blob, or the address of one of this service. */
export async function addReference(blobOrUrl, name) {
  const blob = await blobOf(blobOrUrl);
  if (!blob) return;
  if (draft.start) draft.removeStart();
  await draft.addReferences([new File([blob], name, { type: blob.type })], storedAt(blobOrUrl));
}

/** The picture that an address of this service is of, as the service names it (62:1); empty for others. */
export function storedAt(url) {
  const [, job, index] = /^\/pictures\/(\d+)\/(\d+)\.png$/.exec(url) ?? [];
  return job ? `${job}:${Number(index) + 1}` : "";
}

async function blobOf(blobOrUrl) {
  if (blobOrUrl instanceof Blob) return blobOrUrl;
  try {
    const answer = await fetch(blobOrUrl);
    if (answer.ok) return await answer.blob();
  } catch {
    store.failed(new Away("no picture"));
  }
  store.say(t("error.picture"), "problem");
  return null;
}

/** Put the cursor behind the prompt. */
export function focusPrompt() {
  const box = document.getElementById("prompt");
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}

/** Send the draft; resolves with the card, or null. */
export async function submit() {
  const [body, files] = [draft.body(), draft.files()];
  try {
    draft.refuse("", "");
    return await store.submit(body, files);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused(error, { ...body, ...files });
    return null;
  }
}

function refused(error, sent) {
  // A value that the form did not send stands in the prompt, as a flag.
  const about = error.key.split(".")[1];
  const unsent = sent[about] === undefined && error.key !== "refusal.references.needed";
  const field = unsent ? "prompt" : (FIELDS[about] ?? about);
  // A field that holds its picture has no input, but a button.
  const control = document.getElementById(field) ?? document.querySelector(`#${CSS.escape(field)}-field button`);
  if (!control) return atPrompt(error);
  draft.refuse(field, error.text);
  openAround(control);
  control.focus();
  // The sentence is there after the next rendering.
  setTimeout(() => document.getElementById("error")?.scrollIntoView({ block: "nearest" }));
}

function atPrompt(error) {
  draft.refuse("prompt", error.text);
  document.getElementById("prompt").focus();
}

/** What gets the files that are given anywhere but to the composer; null where the composer gets them too. */
let view = null;

/** Have files that are dropped or pasted outside of the composer given to a view, until null is set. */
export function giveTo(taker) {
  view = taker;
}

// Pasted or dropped: to the field that they fell on, or where there is room for them.
function given(files, target) {
  if (view && !target.closest?.(".dock")) return view(files[0]);
  const onReferences = document.getElementById("references-field")?.contains(target) || !document.getElementById("image-field");
  const joins = draft.references.length || (files.length > 1 && draft.room > draft.references.length);
  // On the field itself it is clear what the picture is for; elsewhere its file may say how to draw it again.
  if (!onReferences && !joins && !document.getElementById("image-field")?.contains(target)) return takePicture(files[0]);
  if (onReferences || joins) draft.addReferences(files);
  else draft.setStart(files[0]);
  return openPictures();
}

/** Show the pictures of the request. */
export function openPictures() {
  const field = document.getElementById("image-field") ?? document.getElementById("references-field");
  if (field) openAround(field);
}

// One that misses its field must not be opened in the page's place.
function useFiles(form) {
  useLayoutEffect(() => {
    const has = (event) => event.dataTransfer?.types.includes("Files");
    let inside = 0;
    const mark = (by) => {
      inside = by === 0 ? 0 : inside + by;
      form.current?.classList.toggle("dropping", inside > 0);
    };
    const on = {
      paste: (event) => {
        if (!event.clipboardData?.files.length) return; // words belong to the field that they are pasted into
        event.preventDefault();
        given(event.clipboardData.files, event.target);
      },
      dragenter: (event) => has(event) && mark(1),
      dragleave: (event) => has(event) && mark(-1),
      dragover: (event) => has(event) && event.preventDefault(),
      drop: (event) => {
        if (!has(event)) return;
        event.preventDefault();
        mark(0);
        given(event.dataTransfer.files, event.target);
      },
    };
    for (const [name, listener] of Object.entries(on)) document.addEventListener(name, listener);
    return () => Object.entries(on).forEach(([name, listener]) => document.removeEventListener(name, listener));
  }, []);
}

/** `onDrawn(card)`: the request was admitted. */
export function Composer({ onDrawn }) {
  const draft = useDraft();
  const about = useStore("engine", (store) => store.about);
  const [form, box] = [useRef(), useRef()];
  const [sending, setSending] = useState(false);
  useFiles(form);
  useLayoutEffect(() => {
    // Where the browser can't do it by itself (field-sizing).
    if (CSS.supports("field-sizing", "content")) return;
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight + 2, innerHeight * TALLEST)}px`;
  }, [draft.fields.prompt]);
  const send = async (event) => {
    event?.preventDefault();
    if (sending) return;
    setSending(true);
    const card = await submit();
    setSending(false);
    if (card) onDrawn(card);
  };
  const typed = (event) => {
    // Enter that ends a word of an input method (Chinese, Japanese) belongs to that word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!event.repeat) send();
  };
  const { models, loras, styles } = about;
  const pictures = models.some(({ can, controls }) => can.includes("image") || can.includes("edit") || controls.length);
  return html`
    <form ref=${form} id="form" class="composer" novalidate autocomplete="off" onSubmit=${send} aria-label=${t("composer")}>
      <div class="composer-line">
        <label class="unseen" for="prompt">${t("prompt")}</label>
        <textarea ref=${box} id="prompt" rows="1" placeholder=${t("prompt.placeholder")} enterkeyhint="go" aria-describedby="hint"
          value=${draft.fields.prompt} onInput=${(event) => draft.set({ prompt: event.target.value })} onKeyDown=${typed}
          ...${invalid("prompt", draft)}></textarea>
        <button id="draw" class="primary" type="submit" aria-disabled=${sending ? "true" : undefined}>
          <${Icon} name="brush" /><span>${t("draw")}</span>
        </button>
      </div>
      <${FieldError} of="prompt" />
      <div class="chips">
        ${pictures && html`<${Pictures} />`}
        <${Size} />
        <${Count} />
        ${styles.length > 0 && html`<${Style} />`}
        ${models.length > 1 && html`<${Model} />`}
        ${loras.length > 0 && html`<${Loras} />`}
        <${More} />
        <${BatchButton} />
        ${draft.chosen.demo && html`<${Known} />`}
      </div>
      <p id="hint" class="unseen">${t("hint")}</p>
    </form>`;
}

