/** The composer's chip for what is seldom changed: steps, guidance, seed, sampler, clip skip, negative prompt, label. */

import { useDraft } from "./draft.js";
import { Chip, FieldError, invalid } from "./parts.js";
import { html } from "./preact.js";
import { t } from "./texts.js";

/** A field of one line. */
function Line({ id, name, label, range, ...rest }) {
  const draft = useDraft();
  return html`
    <div class="field">
      <label for=${id}>${label}${range && html` <span class="quiet">${t("range", range)}</span>`}</label>
      <input id=${id} value=${draft.fields[name]} onInput=${(event) => draft.set({ [name]: event.target.value })} ...${invalid(id, draft)} ...${rest} />
      <${FieldError} of=${id} />
    </div>`;
}

export function More() {
  const draft = useDraft();
  const { model, fields } = draft;
  const { steps, guidance, sampler, samplers, clip_skip: clipSkip, negative } = model;
  const others = samplers.filter((name) => name !== sampler);
  const ignored = negative === "never" || (negative === "with_guidance" && !(Number(fields.guidance || guidance.default) > 1));
  const about = { always: "", with_guidance: t("negative.with_guidance"), never: t("negative.never") }[negative];
  const set = ["seed", "steps", "guidance", "sampler"].filter((name) => fields[name].trim()).length + Number(draft.negative !== model.negative_default) + Number(Boolean(clipSkip && fields.clip_skip.trim())) + Number(fields.label);
  return html`
    <${Chip} name="more" label=${t("advanced")} icon="sliders" value=${set || ""} set=${set > 0} wide>
      <div class="pair">
        <${Line} id="steps" name="steps" label=${t("steps")} range=${steps} inputmode="numeric" placeholder=${String(steps.default)} />
        ${guidance.low !== guidance.high &&
        html`<${Line} id="guidance" name="guidance" label=${t("guidance")} range=${guidance} inputmode="decimal" placeholder=${String(guidance.default)} />`}
      </div>
      <div class="pair">
        <${Line} id="seed" name="seed" label=${t("seed")} inputmode="numeric" placeholder=${t("seed.any")} />
        ${clipSkip && html`<${Line} id="clip-skip" name="clip_skip" label=${t("clip_skip")} range=${clipSkip} inputmode="numeric" placeholder=${String(clipSkip.default)} />`}
      </div>
      ${others.length > 0 &&
      html`<div class="field" id="sampler-field">
        <label for="sampler">${t("sampler")}</label>
        <select id="sampler" value=${fields.sampler} onChange=${(event) => draft.set({ sampler: event.target.value })} ...${invalid("sampler", draft)}>
          <option value="">${t("sampler.own", { name: sampler })}</option>
          ${others.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
        <${FieldError} of="sampler" />
      </div>`}
      <div class=${ignored ? "field ignored" : "field"}>
        <label for="negative">${t("negative")}</label>
        <textarea id="negative" rows="2" aria-describedby="negative-about" placeholder=${t("negative.placeholder")}
          disabled=${negative === "never"} value=${draft.negative} onInput=${(event) => draft.set({ negative: event.target.value, negative_changed: true })} ...${invalid("negative", draft)}></textarea>
        <p id="negative-about" class="about">${about}</p>
        <${FieldError} of="negative" />
      </div>
      <label class="check"><input id="label" type="checkbox" checked=${fields.label} onChange=${(event) => draft.set({ label: event.target.checked })} /> ${t("label")}</label>
    <//>`;
}
