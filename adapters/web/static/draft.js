/** The request that is being written: its fields as typed, its pictures, and what is wrong with it. Kept over reloads. */

import * as keep from "./keep.js";
import { useLayoutEffect, useReducer } from "./preact.js";
import { announce, t } from "./texts.js";
import { NotTaken, take } from "./thumbs.js";

const DRAFT = "easel.draft";
const PICTURES = "pictures";

/** The size that is no preset: as the picture to start from, or the first reference. */
export const LIKE = "like";

const EMPTY = {
  prompt: "",
  preset: "",
  size: "",
  count: "1",
  style: "",
  model: "",
  seed: "",
  steps: "",
  guidance: "",
  negative: "",
  // Whether the negative prompt was changed; until then it is the model's default.
  negative_changed: false,
  sampler: "",
  clip_skip: "",
  strength: "0.6",
  control: "",
  control_weight: "1",
  loras: [],
  label: false,
};

class Draft {
  fields = { ...EMPTY };

  /** The picture to start from or to follow, and the mask of what may change in it (a Blob), or null. */
  start = null;

  mask = null;

  references = [];

  /** What was refused: {field, text}; null where nothing is wrong. */
  error = null;

  #listeners = new Set();

  /** Call `listener` after each change; returns what ends it. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begin with what /api/info said, as the draft was left. */
  async open(about) {
    this.about = about;
    const kept = stored();
    for (const [name, usual] of Object.entries(EMPTY)) {
      if (typeof kept[name] === typeof usual) this.fields[name] = kept[name];
    }
    const known = new Set(about.loras.map(({ name }) => name));
    this.fields.loras = this.fields.loras.filter((one) => known.has(one?.[0]) && Number.isFinite(one[1]));
    if (!about.models.some(({ name }) => name === this.fields.model)) this.fields.model = "";
    if (!about.styles.includes(this.fields.style)) this.fields.style = "";
    this.#fit();
    await this.#takeBack((await keep.get(PICTURES)) ?? {});
  }

  async #takeBack({ start = null, mask = null, references = [] }) {
    const again = ({ name, from, data }) => take(data, Infinity, name, from).catch(() => null);
    this.start = start && (await again(start));
    this.mask = this.start && mask;
    this.references = (await Promise.all(references.map(again))).filter(Boolean);
    this.#told();
  }

  /** The model that is chosen in the form. */
  get chosen() {
    const { models } = this.about;
    return models.find(({ name }) => name === this.fields.model) ?? models[0];
  }

  /** The model that serves the request: an edit that names none is served by the operator's model for edits. */
  get model() {
    return this.references.length ? this.editor : this.chosen;
  }

  /** The model that would serve an edit. */
  get editor() {
    const { models, edit_model: editor } = this.about;
    if (this.chosen !== models[0] || this.chosen.can.includes("edit")) return this.chosen;
    return models.find(({ name }) => name === editor) ?? this.chosen;
  }

  /** The picture that the size follows where none is chosen; undefined where there is none. */
  get shape() {
    return this.start ?? this.references[0];
  }

  /** The size that is meant when none is sent. */
  get usual() {
    return this.shape ? LIKE : Object.keys(this.model.presets)[0];
  }

  /** The chosen preset; empty where a size was typed. */
  get preset() {
    if (this.fields.size.trim()) return "";
    const { preset } = this.fields;
    return (preset === LIKE ? this.shape : preset in this.model.presets) ? preset : this.usual;
  }

  /** The LoRAs that fit the model, in the order in which they were picked: [{lora, weight}]. */
  get loras() {
    const by = new Map(this.about.loras.map((lora) => [lora.name, lora]));
    const picked = this.fields.loras.map(([name, weight]) => ({ lora: by.get(name), weight }));
    return picked.filter(({ lora }) => lora && this.fits(lora));
  }

  /** Whether a LoRA can be used with the model. */
  fits({ family }) {
    return !family || family === this.model.family;
  }

  /** The negative prompt as the form shows it. */
  get negative() {
    if (this.model.negative === "never") return "";
    return this.fields.negative_changed ? this.fields.negative : this.model.negative_default;
  }

  /** How many references there is room for. */
  get room() {
    const { editor } = this;
    return editor.can.includes("edit") && !this.start ? editor.references : 0;
  }

  /** Change fields; what was refused is then about what stood there before. */
  set(fields) {
    Object.assign(this.fields, fields);
    this.#fit();
    this.error = null;
    this.#told();
  }

  /** Say what is wrong, at which field. */
  refuse(field, text) {
    this.error = text ? { field, text } : null;
    this.#told(false);
  }

  // A sampler or a kind of control that the model does not have gives way to the model's own.
  #fit() {
    const { samplers, controls } = this.model;
    if (!samplers.includes(this.fields.sampler)) this.fields.sampler = "";
    if (!controls.includes(this.fields.control)) this.fields.control = "";
  }

  #told(changed = true) {
    if (changed) store(JSON.stringify(this.fields));
    for (const listener of [...this.#listeners]) listener();
  }

  #pictured() {
    this.error = null;
    this.#fit();
    this.#told();
    const bare = ({ name, from, data }) => ({ name, from, data });
    const { start, mask, references } = this;
    keep.set(PICTURES, { start: start && bare(start), mask, references: references.map(bare) });
  }

  /** Take a file to start from; `from` is the stored picture that it is. */
  async setStart(file, name = file.name, from = "") {
    try {
      this.start = await take(file, this.about.max_picture, name, from);
    } catch (error) {
      return this.#notTaken("image", error);
    }
    this.mask = null;
    this.#pictured();
  }

  /** Take the start picture away. */
  removeStart() {
    this.start = this.mask = null;
    Object.assign(this.fields, { strength: EMPTY.strength, control: "", control_weight: EMPTY.control_weight });
    this.#pictured();
  }

  /** Take a mask for the start picture, or null for none. */
  setMask(mask) {
    this.mask = mask;
    this.#pictured();
  }

  /** Take files as references, as many as there is room for; `from` is the stored picture that they are. */
  async addReferences(files, from = "") {
    const { room } = this;
    if (!room) return this.refuse("references", referencesAbout(this));
    const left = Math.max(0, room - this.references.length);
    let said = files.length > left ? t("references.full", { most: room }) : "";
    for (const file of [...files].slice(0, left)) {
      try {
        const picture = await take(file, this.about.max_picture, file.name, from);
        const size = this.references.reduce((sum, { data }) => sum + data.size, picture.data.size);
        const most = this.about.max_upload;
        if (size > most) throw new NotTaken(t("references.large", { limit: Math.floor(most / 2 ** 20) }));
        this.references = [...this.references, picture];
      } catch (error) {
        if (!(error instanceof NotTaken)) throw error;
        said = error.message;
      }
    }
    this.#pictured();
    if (said) this.refuse("references", said);
  }

  /** Take a reference away. */
  removeReference(index) {
    this.references = this.references.toSpliced(index, 1);
    this.#pictured();
  }

  /** Put a reference in another place. */
  moveReference(index, to) {
    if (to < 0 || to >= this.references.length || to === index) return;
    const moved = this.references.toSpliced(index, 1);
    this.references = moved.toSpliced(to, 0, this.references[index]);
    announce(t("references.moved", { number: to + 1 }));
    this.#pictured();
  }

  #notTaken(field, error) {
    if (!(error instanceof NotTaken)) throw error;
    this.refuse(field, error.message);
  }

  /** Put a word behind the prompt, once. */
  addWord(word) {
    const prompt = this.fields.prompt.trimEnd();
    if (prompt.toLowerCase().includes(word.toLowerCase())) return;
    this.set({ prompt: prompt ? `${prompt.replace(/[,，]$/, "")}, ${word}` : word });
    announce(t("lora.word_added", { word }));
  }

  /** What a request says: only what was really asked for, since a field that is sent wins over a flag in the prompt. */
  body() {
    const { fields, preset, usual, chosen, model } = this;
    const asked = {
      size: fields.size.trim() || (preset === usual ? "" : preset),
      count: fields.count.trim() === "1" ? "" : fields.count.trim(),
      model: chosen === this.about.models[0] ? "" : chosen.name,
      style: fields.style,
      seed: fields.seed.trim(),
      steps: fields.steps.trim(),
      guidance: fields.guidance.trim(),
      sampler: fields.sampler,
      clip_skip: model.clip_skip ? fields.clip_skip.trim() : "",
      lora: this.loras.map(({ lora, weight }) => `${lora.name}:${weight}`).join(", "),
      parent: this.shape?.from,
      label: fields.label ? "yes" : "",
      ...this.#use(),
    };
    const body = { prompt: fields.prompt, ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value)) };
    // An empty one is sent too: it takes the place of the model's default.
    const negative = this.negative.trim();
    return model.negative === "never" || negative === model.negative_default ? body : { ...body, negative };
  }

  // A control picture has a weight, and a picture to start from a strength.
  #use() {
    const { control, control_weight: weight, strength } = this.fields;
    if (!this.start) return {};
    if (control) return { control, control_weight: weight === EMPTY.control_weight ? "" : weight };
    return { strength: strength === EMPTY.strength ? "" : strength };
  }

  /** Its files, by the name of the field that they are sent in. */
  files() {
    const found = {};
    if (this.start) found.image = this.start.data;
    if (this.start && this.mask) found.mask = this.mask;
    if (this.references.length) found.references = this.references.map(({ data }) => data);
    return found;
  }
}

/** The page's one draft. */
export const draft = new Draft();

/** In a component: the draft, looked at again after each change. */
export function useDraft() {
  const [, again] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => draft.subscribe(again), []);
  return draft;
}

/** One sentence about the references: who edits them, or what hinders them. */
export function referencesAbout({ chosen, editor, start, references: { length } }) {
  if (!editor.can.includes("edit")) return t("references.none", { model: editor.title });
  if (start) return t("references.start");
  if (length > editor.references) return t("references.many", { model: editor.title, most: editor.references });
  if (!length && editor.needs_reference && editor === chosen) return t("references.needed", { model: editor.title });
  if (length && editor !== chosen) return t("references.served", { model: editor.title });
  return t("references.about", { most: editor.references });
}

// Storage may be switched off; a draft that is not kept is no reason to stop. Each tab has its own; a new one begins
// with the last.
function store(text) {
  try {
    sessionStorage.setItem(keep.named(DRAFT), text);
    localStorage.setItem(keep.named(DRAFT), text);
  } catch {
    return;
  }
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(keep.named(DRAFT)) ?? localStorage.getItem(keep.named(DRAFT)) ?? "{}") ?? {};
  } catch {
    return {};
  }
}
