/** Small parts that the page's components share: icons, chips with popovers, sentences of errors, copying. */

import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { useDraft } from "./draft.js";
import { announce, t } from "./texts.js";

const TOLD_MS = 2000;
const GAP = 8;

/** An icon of the sprite in index.html, by its id without `i-`. */
export function Icon({ name }) {
  return html`<svg class="icon" aria-hidden="true"><use href=${`#i-${name}`} /></svg>`;
}

/** A button with an icon and a label; with `bare` the label is shown as a tooltip. */
export function Action({ icon, label, onClick, bare = false, danger = false, pressed, busy = false, tab, ...rest }) {
  const classes = ["plain", bare && "bare", danger && "danger"].filter(Boolean).join(" ");
  return html`<button type="button" class=${classes} title=${bare ? label : undefined} aria-label=${bare ? label : undefined}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)} aria-disabled=${busy ? "true" : undefined}
    tabindex=${tab} onClick=${(event) => busy || onClick(event)} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${!bare && html`<span>${label}</span>`}
  </button>`;
}

/** A button that copies a text and says so in its own place. */
export function Copy({ text, label, said, icon = "copy", bare = false, tab }) {
  const [told, setTold] = useState("");
  const copy = async () => {
    const sentence = (await copied(text)) ? said : t("copy_failed", { seed: text });
    announce(sentence);
    setTold(sentence);
    setTimeout(() => setTold(""), TOLD_MS);
  };
  return html`<${Action} icon=${told ? "check" : icon} label=${told || label} bare=${bare} onClick=${copy} tab=${tab}
    data-copy=${text} />`;
}

/** Put a text on the clipboard; returns whether that worked. */
export async function copied(text) {
  // The clipboard is there on https and localhost alone; elsewhere the old way still works.
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = document.createElement("textarea");
    const focused = document.activeElement;
    box.value = text;
    box.className = "unseen";
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    focused?.focus();
    return done;
  }
}

/** A bar of progress, from 0 to 1; null while nobody knows. */
export function Bar({ part, label = t("progress") }) {
  const known = part !== null && part !== undefined;
  const percent = Math.round(100 * Math.min(Math.max(part ?? 0, 0), 1));
  return html`<div class=${known ? "bar" : "bar waiting"} role="progressbar" aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${known ? String(percent) : undefined} aria-label=${label} style=${{ "--part": String(percent / 100) }}><span></span></div>`;
}

/** What is wrong with a field of the draft, right below it; nothing where it is right. */
export function FieldError({ of }) {
  const { error } = useDraft();
  if (error?.field !== of) return null;
  return html`<p id="error" class="error" role="alert">${error.text}</p>`;
}

/** What a field's control says of an error. */
export function invalid(of, { error }) {
  return error?.field === of ? { "aria-invalid": "true", "aria-errormessage": "error" } : {};
}

/** A chip that opens a popover of fields. `set`: something in it is not as usual; `plain`: its value says what it is. */
export function Chip({ name, label, value, icon, set = false, plain = false, children, wide = false }) {
  const [chip, box] = [useRef(), useRef()];
  const place = () => {
    const at = chip.current.getBoundingClientRect();
    const { style, offsetWidth } = box.current;
    const width = offsetWidth || (wide ? 416 : 336);
    style.setProperty("--left", `${Math.max(GAP, Math.min(at.left, innerWidth - width - GAP))}px`);
    style.setProperty("--top", `${at.bottom + GAP}px`);
  };
  useLayoutEffect(() => {
    const again = () => box.current?.matches(":popover-open") && place();
    addEventListener("scroll", again, { passive: true });
    addEventListener("resize", again);
    return () => {
      removeEventListener("scroll", again);
      removeEventListener("resize", again);
    };
  }, []);
  const toggled = ({ newState }) => {
    chip.current.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "open") place();
  };
  return html`
    <button ref=${chip} type="button" class=${set ? "chip set" : "chip"} id=${`chip-${name}`} popovertarget=${`popover-${name}`}
      aria-expanded="false" aria-haspopup="dialog">
      ${icon && html`<${Icon} name=${icon} />`}<span class=${plain ? "chip-label unseen" : "chip-label"}>${label}</span>${value && html`<span class="chip-value">${value}</span>`}
    </button>
    <div ref=${box} id=${`popover-${name}`} class=${wide ? "popover wide" : "popover"} popover="auto" role="dialog" aria-label=${label}
      onBeforeToggle=${toggled} onToggle=${toggled}>
      <p class="popover-top"><strong>${label}</strong>
        <button type="button" class="plain bare" popovertarget=${`popover-${name}`} popovertargetaction="hide" aria-label=${t("close")} title=${t("close")}><${Icon} name="close" /></button></p>
      ${children}
    </div>`;
}

/** Open the popover that holds a control, if one does. */
export function openAround(control) {
  const box = control.closest("[popover]");
  if (box && !box.matches(":popover-open")) box.showPopover();
}
