/** The form: what to draw and how. What was typed goes out as it is; the service checks it and says what is wrong. */

import { Refused, draw, newKey } from "./api.js";
import { listen as listenForFiles } from "./drops.js";
import { Loras } from "./loras.js";
import { References } from "./references.js";
import { Start } from "./start.js";
import { announce, made, t } from "./texts.js";

const DRAFT = "easel.draft";
const FIELDS = ["prompt", "count", "seed", "steps", "guidance", "negative", "own-size", "model", "sampler", "clip-skip"];

/** Refusals name what they are about in their key's second word; these fields are called otherwise on the page. */
const HOLDS = { size: "own-size", clip_skip: "clip-skip", control_weight: "control-weight" };

/** The size that is no preset: as the picture to start from, or the first reference. */
const LIKE = "like";

const field = (id) => document.getElementById(id);

export class Form {
  /**
   * @param {(card: object) => void} onDrawn the request was admitted
   * @param {() => void} onAway nobody answered
   */
  constructor(onDrawn, onAway) {
    this.onDrawn = onDrawn;
    this.onAway = onAway;
    this.form = field("form");
    this.error = field("error");
    this.sending = false;
    this.pending = { body: "", key: "" };
    this.picture = new Start(() => this.#pictured());
    this.references = new References(() => this.#pictured());
    this.loras = new Loras(() => this.#typed(), (word) => this.#add(word));
  }

  /** Make the form for these models, as it was left. */
  start({ models, loras, max_count: most, max_picture: largest, max_upload: together, max_loras: mostLoras, edit_model: editor }) {
    this.models = models;
    this.editor = models.find(({ name }) => name === editor);
    this.most = most;
    for (const model of models) field("model").append(new Option(model.title, model.name));
    field("model-field").hidden = models.length < 2;
    field("image-field").hidden = !models.some(({ can, controls }) => can.includes("image") || controls.length);
    field("references-field").hidden = !models.some(({ can }) => can.includes("edit"));
    this.picture.start(largest);
    this.references.start(largest, together);
    this.loras.start(loras, mostLoras);
    this.#restore();
    this.#wear();
    this.#listen();
    field("prompt").focus();
  }

  /** Take a prompt over, and leave the cursor behind it. */
  write(prompt) {
    const box = field("prompt");
    box.value = prompt;
    box.focus();
    box.setSelectionRange(prompt.length, prompt.length);
    this.#typed();
  }

  // Put a word behind the prompt, once.
  #add(word) {
    const box = field("prompt");
    const prompt = box.value.trimEnd();
    if (prompt.toLowerCase().includes(word.toLowerCase())) return;
    box.value = prompt ? `${prompt.replace(/[,，]$/, "")}, ${word}` : word;
    this.#typed();
    announce(t("lora.word_added", { word }));
  }

  /** Send it. */
  async submit() {
    if (this.sending) return;
    this.sending = true;
    field("draw").setAttribute("aria-disabled", "true");
    const body = this.#body();
    // The same request again, after no answer came, goes under the same name: it is drawn once.
    const text = JSON.stringify([body, this.picture.number, this.references.numbers]);
    if (this.pending.body !== text) this.pending = { body: text, key: newKey() };
    try {
      const { card } = await draw(body, this.pending.key, this.#files());
      this.pending = { body: "", key: "" };
      this.#complain("");
      this.onDrawn(card);
    } catch (error) {
      this.#refused(error, { ...body, ...this.#files() });
    } finally {
      this.sending = false;
      field("draw").removeAttribute("aria-disabled");
    }
  }

  #files() {
    return { ...this.picture.files(), ...this.references.files() };
  }

  get #chosen() {
    return this.models.find((model) => model.name === field("model").value) ?? this.models[0];
  }

  // The model that serves the request: an edit that names none is served by the operator's model for edits.
  get #model() {
    const chosen = this.#chosen;
    const moves = this.references.shape && chosen === this.models[0] && !chosen.can.includes("edit");
    return moves ? (this.editor ?? chosen) : chosen;
  }

  // What the size follows where none is chosen.
  get #shape() {
    return this.picture.shape ?? this.references.shape;
  }

  get #preset() {
    return this.form.querySelector("input[name=preset]:checked")?.value;
  }

  // Only what was really asked for: a field that is sent wins over a flag in the prompt.
  #body() {
    const body = { prompt: field("prompt").value };
    const size = field("own-size").value.trim() || (this.#preset === this.#usual ? "" : this.#preset);
    const count = field("count").value.trim();
    const model = this.#chosen === this.models[0] ? "" : this.#chosen.name;
    for (const [name, value] of Object.entries({ size, count: count === "1" ? "" : count, model })) {
      if (value) body[name] = value;
    }
    for (const name of ["seed", "steps", "guidance", "negative"]) {
      const value = field(name).value.trim();
      if (value) body[name] = value;
    }
    if (field("sampler").value) body.sampler = field("sampler").value;
    const clipSkip = field("clip-skip").value.trim();
    if (clipSkip && this.#model.clip_skip) body.clip_skip = clipSkip;
    return { ...body, ...this.loras.body(), ...this.picture.body() };
  }

  // The size that is meant when none is sent.
  get #usual() {
    return this.#shape ? LIKE : Object.keys(this.#model.presets)[0];
  }

  #pictured() {
    const [first] = Object.keys(this.#model.presets);
    if (this.#shape ? this.#preset === first : this.#preset === LIKE) this.#choose(undefined);
    this.#wear();
    this.#typed();
  }

  // Put on the chosen model's sizes, ranges and defaults.
  #wear() {
    const model = this.#model;
    const chosen = this.#preset ?? this.draft?.preset;
    const longest = Math.max(...Object.values(model.presets).flat());
    const sizes = Object.entries(model.presets);
    const shape = this.#shape;
    if (shape) {
      const [width, height] = [shape.width || 1, shape.height || 1];
      const scale = longest / Math.max(width, height);
      sizes.unshift([LIKE, [width * scale, height * scale]]);
    }
    this.picture.wear(this.#chosen, Boolean(this.references.shape));
    // Before there are references, the chosen model may still hand them over.
    const serves = this.#chosen === this.models[0] && !model.can.includes("edit") ? (this.editor ?? model) : model;
    this.references.wear(serves, this.#chosen, Boolean(this.picture.shape));
    this.loras.wear(model);
    field("sizes").replaceChildren(
      ...sizes.map(([name, [width, height]]) => {
        const chip = made("chip-template");
        const radio = chip.querySelector("input");
        radio.value = name;
        radio.checked = name === chosen;
        if (name !== LIKE) chip.title = `${width} × ${height}`;
        chip.querySelector(".chip-name").textContent = t(`size.${name}`) || name;
        const shape = chip.querySelector(".shape");
        shape.style.setProperty("--w", String(width / longest));
        shape.style.setProperty("--h", String(height / longest));
        return chip;
      }),
    );
    if (!this.#preset && !field("own-size").value.trim()) this.#choose(this.#usual);
    for (const name of ["steps", "guidance"]) {
      const { default: usual, low, high } = model[name];
      field(name).placeholder = String(usual);
      field(`${name}-range`).textContent = t("range", { low, high });
    }
    this.#wearSampling(model);
    field("guidance-field").hidden = model.guidance.low === model.guidance.high;
    const [width, height] = Object.values(model.presets).at(-1);
    field("own-size").placeholder = `${width}x${height}`;
    field("own-size-about").textContent = t("own_size.about", { multiple: model.multiple, low: model.side.low, high: model.side.high });
    field("negative-about").textContent = { always: "", with_guidance: t("negative.with_guidance"), never: t("negative.never") }[model.negative];
    field("negative").placeholder = model.negative_default || t("negative.placeholder");
    field("negative").disabled = model.negative === "never";
  }

  // A sampler that the chosen model does not have gives way to the model's own.
  #wearSampling({ sampler, samplers, clip_skip: clipSkip }) {
    const select = field("sampler");
    const chosen = select.options.length ? select.value : this.draft?.sampler;
    const others = samplers.filter((name) => name !== sampler);
    select.replaceChildren(new Option(t("sampler.own", { name: sampler }), ""), ...others.map((name) => new Option(name, name)));
    select.value = others.includes(chosen) ? chosen : "";
    field("sampler-field").hidden = !others.length;
    field("clip-skip-field").hidden = !clipSkip;
    if (clipSkip) {
      field("clip-skip").placeholder = String(clipSkip.default);
      field("clip-skip-range").textContent = t("range", clipSkip);
    }
    field("sampling").hidden = !others.length && !clipSkip;
  }

  #choose(preset) {
    for (const radio of this.form.querySelectorAll("input[name=preset]")) radio.checked = radio.value === preset;
  }

  #listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    field("prompt").addEventListener("keydown", (event) => {
      // Enter that ends a word of an input method (Chinese, Japanese) belongs to that word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      if (!event.repeat) this.submit();
    });
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "preset") field("own-size").value = "";
      if (event.target.id === "own-size") this.#choose(event.target.value.trim() ? undefined : this.#usual);
      this.#typed();
    });
    field("model").addEventListener("change", () => this.#wear());
    listenForFiles(this.form, (files, target) => this.#given(files, target));
    field("fewer").addEventListener("click", () => this.#step(-1));
    field("more").addEventListener("click", () => this.#step(1));
    field("count").addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.#step(by);
    });
  }

  // Pasted or dropped: to the field that they fell on, or where there is room for them.
  #given(files, target) {
    const onReferences = field("references-field").contains(target) || field("image-field").hidden;
    const joins = Boolean(this.references.shape) || (files.length > 1 && this.references.open);
    if (onReferences || joins) this.references.take(files);
    else this.picture.take(files);
  }

  #step(by) {
    const now = Number.parseInt(field("count").value, 10) || 1;
    field("count").value = String(Math.min(Math.max(now + by, 1), this.most));
    this.#typed();
  }

  /** The service answers again: that it did not is no news any more. */
  back() {
    if (this.error.textContent === t("error.away")) this.#complain("");
  }

  #typed() {
    // What was said was about what stood there before.
    this.#complain("");
    for (const element of this.form.querySelectorAll("[aria-invalid]")) element.removeAttribute("aria-invalid");
    const draft = Object.fromEntries(FIELDS.map((id) => [id, field(id).value]));
    store(JSON.stringify({ ...draft, preset: this.#preset, loras: this.loras.draft, advanced: field("advanced").open }));
  }

  #restore() {
    this.draft = stored();
    if (!this.draft) return;
    for (const id of FIELDS) if (typeof this.draft[id] === "string" && this.draft[id]) field(id).value = this.draft[id];
    if (!field("model").value) field("model").selectedIndex = 0;
    this.loras.restore(this.draft.loras);
    field("advanced").open = this.draft.advanced === true;
  }

  #refused(error, body) {
    if (!(error instanceof Refused)) {
      this.#complain(t("error.away"));
      this.onAway();
      return;
    }
    this.#complain(error.text);
    // A value that the form did not send stands in the prompt, as a flag.
    const about = error.key.split(".")[1];
    const unsent = body[about] === undefined && error.key !== "refusal.references.needed";
    const wrong = field(unsent ? "prompt" : (HOLDS[about] ?? about));
    wrong.setAttribute("aria-invalid", "true");
    if (field("advanced").contains(wrong)) field("advanced").open = true;
    // Right below what is wrong; where two fields share a line, below both.
    (wrong.closest(".pair") ?? wrong.closest(".field")).after(this.error);
    wrong.setAttribute("aria-errormessage", this.error.id);
    wrong.focus();
    this.error.scrollIntoView({ block: "nearest" });
  }

  #complain(sentence) {
    this.form.querySelector(".foot").prepend(this.error);
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }
}

// Storage may be switched off; a draft that is not kept is no reason to stop.
function store(text) {
  try {
    sessionStorage.setItem(DRAFT, text);
  } catch {
    return;
  }
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
  } catch {
    return null;
  }
}
