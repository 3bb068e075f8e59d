/** The composer's chips for size, count, style, model and LoRAs. */

import { LIKE, useDraft } from "./draft.js";
import { Action, Chip, FieldError, Icon, invalid } from "./parts.js";
import { html } from "./preact.js";
import { store } from "./store.js";
import { t } from "./texts.js";

/** The shape of a size, in a square of the font's size. */
function Shape({ width, height }) {
  const longest = Math.max(width, height);
  return html`<span class="shape" aria-hidden="true" style=${{ "--w": width / longest, "--h": height / longest }}></span>`;
}

/** A ratio in the smallest whole numbers, or as a decimal number where they are large. */
function ratio(width, height) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  const by = divisor(width, height);
  const [w, h] = [width / by, height / by];
  return Math.max(w, h) <= 21 ? `${w}:${h}` : `${(width / height).toFixed(2)}:1`;
}

/** What to call a preset. */
function sizeName(name) {
  return t(`size.${name}`) || name;
}

export function Size() {
  const draft = useDraft();
  const { model, preset, shape, fields } = draft;
  const sizes = Object.entries(model.presets).map(([name, [width, height]]) => ({ name, width, height }));
  if (shape) sizes.unshift({ name: LIKE, width: shape.width || 1, height: shape.height || 1 });
  const now = sizes.find(({ name }) => name === preset);
  const value = now ? (now.name === LIKE ? sizeName(LIKE) : ratio(now.width, now.height)) : fields.size.trim();
  const [wide, high] = Object.values(model.presets).at(-1);
  const label = html`${now && html`<${Shape} width=${now.width} height=${now.height} />`}`;
  return html`
    <${Chip} name="size" plain label=${t("size")} value=${html`${label}${value}`} set=${preset !== draft.usual}>
      <fieldset class="sizes">
        <legend class="unseen">${t("size")}</legend>
        ${sizes.map(
          ({ name, width, height }) => html`
            <label class="size" key=${name}>
              <input type="radio" name="preset" value=${name} checked=${name === preset} onChange=${() => draft.set({ preset: name, size: "" })} />
              <span class="size-face">
                <${Shape} width=${width} height=${height} />
                <span class="size-name">${sizeName(name)}</span>
                ${name !== LIKE && html`<span class="quiet">${ratio(width, height)}</span><span class="quiet">${width} × ${height}</span>`}
              </span>
            </label>`,
        )}
      </fieldset>
      <div class="field">
        <label for="own-size">${t("own_size")}</label>
        <input id="own-size" aria-describedby="own-size-about" placeholder=${`${wide}x${high}`} value=${fields.size}
          onInput=${(event) => draft.set({ size: event.target.value })} ...${invalid("own-size", draft)} />
        <p id="own-size-about" class="about">${t("own_size.about", { multiple: model.multiple, low: model.side.low, high: model.side.high })}</p>
        <${FieldError} of="own-size" />
      </div>
    <//>`;
}

export function Count() {
  const draft = useDraft();
  const { count } = draft.fields;
  const most = store.about.max_count;
  const step = (by) => {
    const now = Number.parseInt(count, 10) || 1;
    draft.set({ count: String(Math.min(Math.max(now + by, 1), most)) });
  };
  const pressed = (event) => {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  };
  const quick = [1, 2, 4, 8, 16].filter((number) => number <= most);
  return html`
    <${Chip} name="count" plain label=${t("count")} icon="stack" value=${`× ${count.trim() || 1}`} set=${count.trim() !== "1"}>
      <div class="field">
        <label for="count">${t("count")}</label>
        <div class="stepper">
          <button type="button" id="fewer" aria-label=${t("count.fewer")} title=${t("count.fewer")} onClick=${() => step(-1)}><${Icon} name="minus" /></button>
          <input id="count" inputmode="numeric" value=${count} onInput=${(event) => draft.set({ count: event.target.value })} onKeyDown=${pressed}
            ...${invalid("count", draft)} />
          <button type="button" id="more" aria-label=${t("count.more")} title=${t("count.more")} onClick=${() => step(1)}><${Icon} name="plus" /></button>
        </div>
        <div class="quick">
          ${quick.map((number) => html`<button type="button" key=${number} aria-pressed=${String(count.trim() === String(number))} onClick=${() => draft.set({ count: String(number) })}>${number}</button>`)}
        </div>
        <${FieldError} of="count" />
      </div>
    <//>`;
}

/** A list to choose one of; `options` are {name, title, about}. */
function Choice({ id, label, options, value, onChange }) {
  return html`
    <fieldset class="choice">
      <legend class="unseen">${label}</legend>
      ${options.map(
        ({ name, title, about }) => html`
          <label key=${name}>
            <input type="radio" name=${id} value=${name} checked=${name === value} onChange=${() => onChange(name)} />
            <span><span class="choice-title">${title}</span>${about && html`<span class="quiet">${about}</span>`}</span>
          </label>`,
      )}
    </fieldset>`;
}

export function Style() {
  const draft = useDraft();
  const { style } = draft.fields;
  const options = [{ name: "", title: t("style.none") }, ...store.about.styles.map((name) => ({ name, title: name }))];
  return html`
    <${Chip} name="style" icon="palette" label=${t("style")} value=${style} set=${style !== ""}>
      <div id="style"><${Choice} id="style" label=${t("style")} options=${options} value=${style} onChange=${(name) => draft.set({ style: name })} /></div>
      <${FieldError} of="style" />
    <//>`;
}

export function Model() {
  const draft = useDraft();
  const { models } = store.about;
  const about = ({ steps, presets }) => {
    const [[width, height]] = Object.values(presets);
    return t("model.about", { steps: steps.default, width, height });
  };
  const options = models.map((model) => ({ name: model.name, title: model.title, about: about(model) }));
  const choose = (name) => draft.set({ model: name === models[0].name ? "" : name });
  return html`
    <${Chip} name="model" plain icon="easel" label=${t("model")} value=${draft.chosen.title} set=${draft.chosen !== models[0]}>
      <div id="model"><${Choice} id="model" label=${t("model")} options=${options} value=${draft.chosen.name} onChange=${choose} /></div>
      <${FieldError} of="model" />
    <//>`;
}

export function Loras() {
  const draft = useDraft();
  const { loras: known, max_loras: most } = store.about;
  const picked = draft.loras;
  const fitting = known.filter((lora) => draft.fits(lora));
  const left = fitting.filter((lora) => !picked.some((one) => one.lora === lora));
  const full = picked.length >= most;
  const add = (event) => {
    const lora = known.find(({ name }) => name === event.target.value);
    if (!lora) return;
    draft.set({ loras: [...draft.fields.loras.filter(([name]) => name !== lora.name), [lora.name, lora.weight]] });
    setTimeout(() => document.querySelector(".lora:last-child input").focus());
  };
  const weigh = (lora, weight) => draft.set({ loras: draft.fields.loras.map(([name, before]) => [name, name === lora.name ? weight : before]) });
  const remove = (lora) => {
    draft.set({ loras: draft.fields.loras.filter(([name]) => name !== lora.name) });
    document.getElementById("lora").focus();
  };
  return html`
    <${Chip} name="lora" icon="layers" label=${t("lora")} value=${picked.length || ""} set=${picked.length > 0}>
      <div class="field">
        <label for="lora">${t("lora")}</label>
        <ul class="loras" hidden=${!picked.length}>
          ${picked.map(
            ({ lora, weight }) => html`
              <li class="lora" key=${lora.name}>
                <span class="lora-title">${lora.title}</span>
                <output>${weight}</output>
                <${Action} icon="close" bare label=${t("lora.remove", { lora: lora.title })} onClick=${() => remove(lora)} />
                <input type="range" min="-2" max="2" step="0.05" value=${weight} aria-label=${t("lora.weight", { lora: lora.title })}
                  onInput=${(event) => weigh(lora, Number(event.target.value))} />
                ${lora.triggers.length > 0 &&
                html`<p class="lora-words"><span class="quiet">${t("lora.words")}</span>
                  ${lora.triggers.map((word) => html`<button type="button" class="word" key=${word} title=${t("lora.word")} onClick=${() => draft.addWord(word)}>${word}</button>`)}</p>`}
              </li>`,
          )}
        </ul>
        <select id="lora" aria-describedby="lora-about" value="" disabled=${full || !left.length} onChange=${add}>
          <option value="">${t("lora.add")}</option>
          ${left.map(({ name, title }) => html`<option key=${name} value=${name}>${title}</option>`)}
        </select>
        <p id="lora-about" class="about">${full ? t("lora.full", { most }) : fitting.length ? "" : t("lora.none")}</p>
        <${FieldError} of="lora" />
      </div>
    <//>`;
}
