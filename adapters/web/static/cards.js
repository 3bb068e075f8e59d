/** One job on the page: its pictures, how it stands, its facts and its buttons; changed in place, so that focus stays. */

import { Refused, newKey, press } from "./api.js";
import { showProgress } from "./engine.js";
import { announce, made, t } from "./texts.js";

const ICONS = { reroll: "i-reroll", seed: "i-seed", vary: "i-vary", upscale: "i-upscale", prompt: "i-copy", cancel: "i-stop", delete: "i-bin", deletenow: "i-bin" };
/** Buttons that belong to one picture, in their order, and what they are called beside it. */
const EACH = { vary: "vary", upscale: "upscale", seed: "from_seed" };
/** Buttons of chats: the page has its own controls for the same, and writes no longer prompts. */
const OWN = new Set(["favourite", "edit", "start", "more", "original", "info", "richer"]);
const COPIED_MS = 2000;

export class JobCard {
  /**
   * @param {object} card the service's card
   * @param {object} house what the card may do: enlarge, onPressed(answer), onOpen(card, index), onReuse(prompt), onStar(card), onGone(id), onAway()
   */
  constructor(card, house) {
    this.house = house;
    this.element = made("card-template");
    this.element.dataset.job = String(card.job_id);
    for (const part of ["pictures", "label", "prompt", "status", "notes", "facts", "buttons"]) {
      this[part] = this.element.querySelector(`.job-${part}`);
    }
    this.bar = this.element.querySelector(".bar");
    this.error = this.element.querySelector(".error");
    this.update(card);
  }

  /** Show another state of the same job. */
  update(card) {
    const before = this.card;
    const text = JSON.stringify(card);
    if (this.shown === text) return;
    this.shown = text;
    this.card = card;
    // What was said about a press is about how the job stood then.
    if (before && before.tone !== card.tone) this.#complain("");
    const focused = this.element.contains(document.activeElement);
    this.element.dataset.tone = card.tone;
    this.prompt.textContent = card.prompt;
    this.status.textContent = card.status;
    this.#showProgress();
    this.#showPictures(before);
    this.#showPreviews();
    list(this.notes, card.notes.map((note) => element("li", note)));
    list(this.facts, card.facts.map(({ label, value }) => group(element("dt", label), element("dd", value))));
    if (!before || JSON.stringify(before.buttons) !== JSON.stringify(card.buttons)) this.#showButtons();
    this.#showStars();
    // What had the focus may be gone (Cancel, once it is done): the card takes it, the page must not.
    if (focused && !this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
  }

  /** Whether somebody works on it: it has the focus or the pointer. */
  get inUse() {
    return this.element.contains(document.activeElement) || this.element.matches(":hover");
  }

  /** Whether the device has begun it. */
  get drawing() {
    return !this.card.final && this.card.progress !== null;
  }

  /** The service answers again: that it did not is no news any more. */
  back() {
    if (this.error.textContent === t("error.away")) this.#complain("");
  }

  /** Keep a place for the pictures to come, or don't (a job further back in line). */
  reserve(wanted) {
    const { coming, pictures } = this.card;
    // What has been seen of a picture stays in sight.
    const wants = Boolean(coming) && (wanted || Object.keys(coming.previews).length > 0);
    if (pictures.length || Boolean(this.pictures.firstChild) === wants) return;
    this.#lay(wants ? Array.from({ length: coming.count }, () => this.#canvas(coming.width, coming.height)) : []);
    this.#showPreviews();
  }

  #showProgress() {
    const { progress, final, tone } = this.card;
    this.bar.hidden = final;
    this.element.style.setProperty("--part", String(progress ?? 0));
    // Nothing moves for what only waits its turn.
    this.bar.classList.toggle("waiting", progress === null && tone === "running");
    if (progress === null) this.bar.removeAttribute("aria-valuenow");
    else showProgress(this.bar, progress);
  }

  #showPictures(before) {
    const { pictures, final } = this.card;
    if (pictures.length && pictures.length !== before?.pictures.length) {
      this.#lay(pictures.map((picture, index) => this.#picture(picture, index)));
    } else if (final && !pictures.length) this.#lay([]);
  }

  #showPreviews() {
    const canvases = this.pictures.querySelectorAll(".canvas");
    for (const [index, url] of Object.entries(this.card.coming?.previews ?? {})) {
      const canvas = canvases[index];
      if (!canvas) return;
      const image = canvas.querySelector("img") ?? sketch(canvas);
      if (image.getAttribute("src") !== url) image.src = url;
    }
  }

  #lay(figures) {
    const count = figures.length;
    this.pictures.replaceChildren(...figures);
    this.pictures.classList.toggle("many", count > 1);
    this.pictures.style.setProperty("--columns", String(count < 4 ? count || 1 : count === 4 ? 2 : count < 10 ? 3 : 4));
  }

  #canvas(width, height) {
    const canvas = element("div", "");
    canvas.className = "canvas";
    this.#measure(canvas, width, height);
    return canvas;
  }

  #picture(picture, index) {
    const figure = made("picture-template");
    const image = figure.querySelector("img");
    const { length } = this.card.pictures;
    image.width = picture.width;
    image.height = picture.height;
    image.alt = picture.alt;
    image.src = picture.url;
    this.#measure(figure, picture.width, picture.height);
    const open = figure.querySelector("button");
    const show = () => {
      figure.classList.toggle("covered", picture.spoiler);
      open.setAttribute("aria-label", picture.spoiler
        ? t("picture.covered", { index: index + 1, count: length })
        : t("picture.open", { index: index + 1, count: length, alt: picture.alt }));
    };
    open.querySelector(".cover").textContent = t("picture.uncover");
    open.addEventListener("click", () => {
      if (!picture.spoiler) return this.house.onOpen(this.card, index);
      // For as long as the page is open: it is covered again for the next visit.
      picture.spoiler = false;
      show();
    });
    show();
    const caption = figure.querySelector("figcaption");
    caption.hidden = length < 2;
    if (length > 1) {
      caption.querySelector(".picture-seed").textContent = picture.seed ?? "";
      caption.querySelector(".picture-actions").append(...this.#actions(picture));
    }
    return figure;
  }

  // Small pictures are shown enlarged, as their model wishes, and never wider than the column.
  #measure(figure, width, height) {
    figure.style.setProperty("--width", `${width * (this.card.coming?.enlarge ?? this.house.enlarge(this.card))}px`);
    figure.style.setProperty("--ratio", `${width} / ${height}`);
  }

  // Each picture has a star of its own here, where chats have one button for all.
  #star(picture) {
    const star = button("i-star", "", (self) => this.#press(picture.star, self, (answer) => this.#starred(picture.index, answer)));
    star.classList.add("star");
    star.dataset.star = String(picture.index);
    return star;
  }

  #starred(index, { notice }) {
    const pictures = this.card.pictures.map((one) => (one.index === index ? { ...one, favourite: !one.favourite } : one));
    this.update({ ...this.card, pictures });
    announce(notice);
    this.house.onStar(this.card);
  }

  #showStars() {
    for (const star of this.element.querySelectorAll("[data-star]")) {
      const picture = this.card.pictures.find(({ index }) => String(index) === star.dataset.star);
      star.setAttribute("aria-pressed", String(picture.favourite));
      name(star, picture.favourite ? t("star.off") : t("star.on"));
    }
  }

  #actions(picture) {
    const own = this.card.buttons.flat().filter((one) => one.index === picture.index);
    const each = Object.entries(EACH).flatMap(([action, label]) =>
      own.filter((one) => one.action === action).map((one) => this.#button({ ...one, label: t(label) })),
    );
    const download = made("download-template");
    download.href = picture.download;
    name(download, t("download"));
    return [
      this.#star(picture),
      ...each,
      ...(picture.seed === null ? [] : [button("i-copy", t("copy_seed"), (self) => copy(picture.seed, self))]),
      download,
    ];
  }

  #showButtons() {
    const { buttons, pictures, prompt } = this.card;
    const rest = buttons.flat().filter(({ action }) => !(action in EACH) && !OWN.has(action));
    this.buttons.replaceChildren(
      ...rest.map((one) => this.#button(one)),
      ...(pictures.length === 1 ? this.#actions(pictures[0]) : []),
      ...(this.card.final && prompt ? [button("i-pencil", t("use_prompt"), () => this.house.onReuse(prompt))] : []),
    );
  }

  // A question about the job: its answers stand in the place of the job's buttons.
  #ask(answers) {
    const back = button("", t("back"), () => {
      this.#show("");
      this.#showButtons();
      this.buttons.querySelector("button")?.focus();
    });
    this.buttons.replaceChildren(...answers.map((one) => this.#button(one)), back);
    this.buttons.querySelector("button").focus();
  }

  #button({ label, action, id, danger }) {
    const control = button(ICONS[action] ?? "", label, (self) => this.#press(id, self));
    control.classList.toggle("danger", danger);
    control.dataset.action = action;
    return control;
  }

  async #press(id, self, onAnswer = (answer) => this.#answered(answer)) {
    if (self.getAttribute("aria-disabled")) return;
    self.setAttribute("aria-disabled", "true");
    // Pressed again after no answer came, it is the same press.
    self.key ??= newKey();
    try {
      const answer = await press(id, self.key);
      self.key = undefined;
      await onAnswer(answer);
    } catch (error) {
      if (error instanceof Refused) self.key = undefined;
      else this.house.onAway();
      this.#complain(error instanceof Refused ? error.text : t("error.away"));
    } finally {
      self.removeAttribute("aria-disabled");
    }
  }

  async #answered(answer) {
    const { card, menu } = answer;
    if (menu) {
      this.#show(menu.status);
      if (menu.buttons.length) this.#ask(menu.buttons.flat());
      else {
        // Nothing more can be done with the job: it is deleted.
        announce(menu.status);
        this.house.onGone(this.card.job_id);
      }
      return;
    }
    // A card of no job has a text to copy.
    const text = card && card.job_id === null ? card.prompt : "";
    if (text) this.#show((await copied(text)) ? t("text_copied", { text }) : `${card.status}\n${text}`);
    else this.#show(answer.notice);
    this.house.onPressed(answer);
  }

  #complain(sentence) {
    this.#show(sentence, true);
  }

  #show(sentence, isError = false) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
    this.error.classList.toggle("notice", !isError);
  }
}

// A preview in a canvas, once it has come; the one before stays until then.
function sketch(canvas) {
  const image = new Image();
  image.className = "preview";
  image.alt = "";
  image.addEventListener("load", () => canvas.classList.add("previewed"));
  image.addEventListener("error", () => image.remove()); // the picture itself has come meanwhile
  canvas.append(image);
  return image;
}

function button(icon, label, onClick) {
  const self = made("button-template");
  if (icon) self.querySelector("use").setAttribute("href", `#${icon}`);
  else self.querySelector("svg").remove();
  name(self, label);
  self.addEventListener("click", () => onClick(self));
  return self;
}

function name(control, label) {
  control.querySelector("span").textContent = label;
  control.title = label;
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function group(...children) {
  const made = document.createElement("div");
  made.append(...children);
  return made;
}

function list(container, children) {
  container.replaceChildren(...children);
  container.hidden = !children.length;
}

async function copy(text, self) {
  const label = self.title;
  const done = await copied(text);
  const said = done ? t("copied", { seed: text }) : t("copy_failed", { seed: text });
  announce(said);
  name(self, said);
  self.classList.toggle("told", true);
  setTimeout(() => {
    name(self, label);
    self.classList.toggle("told", false);
  }, COPIED_MS);
}

// The clipboard is there on https and localhost alone; elsewhere the old way still works.
async function copied(text) {
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
