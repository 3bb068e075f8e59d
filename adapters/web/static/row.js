/** One request in the feed: its pictures in one line, then its prompt, its status, its facts and its buttons. */

import { Refused } from "./api.js";
import { addReference, addStart, fillComposer, submit } from "./composer.js";
import { Action, Bar, Copy, Icon, copied } from "./parts.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { removeJobs } from "./selection.js";
import { store, useStore } from "./store.js";
import { announce, t } from "./texts.js";
import { openViewer } from "./viewer.js";

const ICONS = { reroll: "reroll", seed: "seed", vary: "vary", upscale: "upscale", prompt: "copy", cancel: "stop", delete: "bin", deletenow: "bin" };
/** Buttons that belong to one picture, in order, with the keys of their labels. */
const EACH = { vary: "vary", upscale: "upscale", seed: "from_seed" };
/** Buttons of chats: the page has its own controls for the same, and writes no longer prompts. */
const OWN = new Set(["favourite", "edit", "start", "more", "original", "info", "richer"]);
/** Buttons whose words are shown; the others are signs. */
const LABELLED = new Set(["reroll", "cancel"]);
/** Names, which are the same in every language. */
const PLATFORMS = { discord: "Discord", telegram: "Telegram" };
const SECOND_MS = 1000;
/** A part of the window's height; a page that is scrolled by less is near the top. */
const NEAR_TOP = 0.5;

/** The buttons of a card for one of its pictures, in order. */
export function buttonsOf(card, index) {
  const own = card.buttons.flat().filter((one) => one.index === index);
  return Object.entries(EACH).flatMap(([action, label]) =>
    own.filter((one) => one.action === action).map((one) => ({ ...one, label: t(label), icon: ICONS[action] })),
  );
}

/** Press a button of a card and deal with what comes back; returns the answer, or null where there was none. */
export async function pressed(id, say) {
  try {
    const answer = await store.press(id);
    const { card } = answer;
    // A card of no job has a text to copy.
    const text = card && card.job_id === null ? card.prompt : "";
    if (text) say((await copied(text)) ? t("text_copied", { text }) : `${card.status}\n${text}`);
    else if (answer.new) begun(answer, say);
    else if (answer.notice) say(answer.notice);
    return answer;
  } catch (error) {
    store.failed(error);
    say(error instanceof Refused ? error.text : t("error.away"), true);
    return null;
  }
}

// A request from near the top of the feed is shown there.
function begun({ new: card, notice }, say) {
  if (scrollY < innerHeight * NEAR_TOP) {
    store.reveal();
    scrollTo({ top: 0 });
  } else say(notice || t("begun", { job: card.job_id }));
}

// Whether the first model edits pictures, or another one serves edits.
function canEdit() {
  const { models, edit_model: editor } = store.about;
  return models[0].can.includes("edit") || models.some((one) => one.name === editor);
}

/** The name of a picture's file. */
export const fileName = (card, picture) => `easel-${card.job_id}-${picture.index + 1}.png`;

/** Edit one of a card's pictures: it becomes a reference where a model can edit, else the picture to start from. */
export function editPicture(card, picture) {
  const name = fileName(card, picture);
  return canEdit() ? addReference(picture.url, name) : addStart(picture.url, name);
}

/** Start from one of a card's pictures. */
export function startFrom(card, picture) {
  return addStart(picture.url, fileName(card, picture));
}

function Picture({ card, picture, position, tab, say }) {
  const [open, setOpen] = useState(!picture.spoiler);
  const { length } = card.pictures;
  const words = { index: position + 1, count: length, alt: picture.alt };
  const enlarge = store.enlarge(card);
  return html`
    <figure class=${open ? "picture" : "picture covered"} style=${{ "--ratio": picture.width / picture.height, "--most": `${picture.height * enlarge}px` }}>
      <button class="picture-open" type="button" tabindex=${tab} data-picture=${`${card.job_id}/${picture.index}`} aria-label=${t(open ? "picture.open" : "picture.covered", words)}
        onClick=${() => (open ? openViewer(card.job_id, picture.index) : setOpen(true))}>
        <img class=${enlarge > 1 ? "small" : ""} width=${picture.width} height=${picture.height} alt=${picture.alt} decoding="async" loading="lazy"
          src=${enlarge > 1 ? picture.url : (picture.medium ?? picture.url)} />
        ${!open && html`<span class="cover" aria-hidden="true">${t("picture.uncover")}</span>`}
      </button>
      <figcaption class="picture-actions">
        ${picture.star && html`<${Action} icon="star" bare label=${t(picture.favourite ? "star.off" : "star.on")} pressed=${picture.favourite} tab=${tab}
          data-star=${picture.index} onClick=${() => store.star(card.job_id, picture.index)} />`}
        ${buttonsOf(card, picture.index).map((one) => html`<${Action} key=${one.action} icon=${one.icon} bare label=${one.label} tab=${tab} data-action=${one.action} onClick=${() => pressed(one.id, say)} />`)}
        <${Action} icon="image" bare label=${t("start_from")} tab=${tab} data-action="start" onClick=${() => startFrom(card, picture)} />
        ${canEdit() && html`<${Action} icon="brush" bare label=${t("keys.edit")} tab=${tab} data-action="edit" onClick=${() => editPicture(card, picture)} />`}
        <a class="plain bare" href=${picture.download} download tabindex=${tab} title=${t("download")} aria-label=${t("download")}><${Icon} name="download" /></a>
      </figcaption>
    </figure>`;
}

/** The place of a coming picture, with its preview. */
function Canvas({ coming, index, part }) {
  const preview = coming.previews?.[index];
  const [seen, setSeen] = useState(false);
  return html`
    <div class=${seen ? "canvas previewed" : "canvas"} style=${{ "--ratio": coming.width / coming.height, "--most": `${coming.height * coming.enlarge}px`, "--part": part ?? 0 }}>
      ${preview && html`<img class="preview" alt="" src=${preview} onLoad=${() => setSeen(true)} />`}
    </div>`;
}

function Pictures({ card, tab, say }) {
  const { pictures, coming, place } = card;
  const shape = pictures[0] ?? coming ?? place;
  if (!shape) return null;
  const count = pictures.length || shape.count;
  const ratios = pictures.length ? pictures.reduce((sum, one) => sum + one.width / one.height, 0) : (count * shape.width) / shape.height;
  const most = shape.height * store.enlarge(card);
  const style = { "--ratios": ratios, "--gaps": count - 1, "--most": `${most}px` };
  return html`
    <div class="job-pictures"><div class="line" style=${style}>
      ${pictures.map((picture, position) => html`<${Picture} key=${picture.index} ...${{ card, picture, position, tab, say }} />`)}
      ${!pictures.length && coming && Array.from({ length: count }, (_, index) => html`<${Canvas} key=${`coming${index}`} coming=${coming} index=${index} part=${card.progress} />`)}
      ${!pictures.length && !coming && html`<div class="nothing" style=${{ "--ratio": ratios }}><${Icon} name=${card.tone === "problem" ? "alert" : "stop"} /></div>`}
    </div></div>`;
}

/** Seconds since a moment, counted on while it is shown. */
function Seconds({ since }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), SECOND_MS);
    return () => clearInterval(timer);
  }, []);
  return html`${t("seconds.gone", { seconds: Math.max(0, Math.round((now - Date.parse(since)) / 1000)) })}`;
}

// Whether its steps say more than its status does.
const isLive = ({ tone, step }) => tone === "running" && step !== null && step !== undefined;

function Progress({ card }) {
  const { step, steps, seconds_left: left, started_at: since, progress, recipe } = card;
  const parts = [
    steps ? t("live.step", { step, steps }) : progress !== null && `${Math.round(progress * 100)} %`,
    since && html`<${Seconds} since=${since} />`,
    left !== null && left !== undefined && t("seconds.left", { seconds: Math.ceil(left) }),
    recipe?.seed && t("live.seed", { seed: recipe.seed }),
  ].filter(Boolean);
  return html`<div class="live-line">
    <${Bar} part=${card.tone === "waiting" && progress === null ? 0 : progress} />
    <p class="live-facts">${parts.map((part, at) => html`<span key=${at}>${part}</span>`)}</p>
  </div>`;
}

/** Its number, when it was asked for and where, and what it was made from. */
function Meta({ card, tab }) {
  const { job_id: id, created_at: created, platform, parent } = card;
  const at = created && new Date(created);
  const today = at && at.toDateString() === new Date().toDateString();
  const when = at && at.toLocaleString(document.documentElement.lang, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
  return html`
    <p class="job-meta">
      <a href=${`#job/${id}`} tabindex=${tab}>#${id}</a>
      ${at && html`<time datetime=${created}>${when}</time>`}
      ${platform && platform !== "web" && html`<span>${PLATFORMS[platform] ?? platform}</span>`}
      ${parent && html`<a class="job-parent" href=${`#job/${parent.job_id}`} tabindex=${tab}>
        ${parent.thumb && html`<img alt="" width="24" height="24" loading="lazy" src=${parent.thumb} />`}${t("parent", { job: parent.job_id })}
      </a>`}
    </p>`;
}

function Facts({ card }) {
  if (!card.facts.length) return null;
  return html`<dl class="job-facts">${card.facts.map(({ label, value }) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Buttons({ card, tab, say, ask }) {
  // What came to nothing is drawn as it was meant, with its seed.
  const ended = card.final && !card.pictures.length && Boolean(card.recipe);
  const rest = card.buttons.flat().filter(({ action, index }) => !(action in EACH && index !== null) && !OWN.has(action) && !(ended && action === "reroll"));
  const press = async ({ id, action }) => {
    // The page deletes at once, and offers to take it back.
    if (action === "delete") return removeJobs([card.job_id]);
    const answer = await pressed(id, say);
    if (answer?.menu) ask(answer.menu);
  };
  const { recipe, prompt, final, pictures, tone } = card;
  const again = async () => {
    await fillComposer(recipe);
    await submit();
  };
  const button = ({ id, action, label, danger }) =>
    html`<${Action} key=${id} icon=${ICONS[action]} label=${label} bare=${!LABELLED.has(action)} danger=${danger} tab=${tab} data-action=${action} onClick=${() => press({ id, action })} />`;
  return html`
    <div class="job-buttons">
      ${rest.filter(({ action }) => LABELLED.has(action)).map(button)}
      ${ended && html`<${Action} icon="reroll" label=${tone === "problem" ? t("try_again") : t("draw_again")} tab=${tab} data-action="again" onClick=${again} />`}
      ${final && prompt && html`<${Action} icon="pencil" label=${t("use_prompt")} tab=${tab} data-action="reuse" onClick=${() => fillComposer(recipe ? { ...recipe, seed: "" } : { prompt })} />`}
      <span class="job-more">
        ${pictures.length === 1 && pictures[0].seed !== null && html`<${Copy} icon="seed" text=${pictures[0].seed} label=${t("copy_seed")} said=${t("copied", { seed: pictures[0].seed })} bare tab=${tab} />`}
        ${rest.filter(({ action }) => !LABELLED.has(action)).map(button)}
      </span>
    </div>`;
}

// A question about the job. Its answers replace the job's buttons.
function Question({ card, menu, close, say }) {
  const box = useRef();
  useLayoutEffect(() => box.current.querySelector("button").focus(), []);
  const press = async (one) => {
    const answer = await pressed(one.id, say);
    if (!answer) return;
    close();
    if (answer.menu && !answer.menu.buttons.length) {
      // Nothing more can be done with the job: it is deleted.
      announce(answer.menu.status);
      store.gone(card.job_id);
    }
  };
  return html`
    <div class="job-buttons" ref=${box}>
      ${menu.buttons.flat().map((one) => html`<${Action} key=${one.id} icon=${ICONS[one.action]} label=${one.label} danger=${one.danger} data-action=${one.action} onClick=${() => press(one)} />`)}
      <${Action} label=${t("back")} onClick=${close} />
    </div>`;
}

/** The row of a job, by its number. */
export function Row({ id }) {
  const card = useStore(`card:${id}`, (store) => store.get(id));
  const [said, setSaid] = useState(null);
  const [menu, setMenu] = useState(null);
  const row = useRef();
  const held = row.current?.contains(document.activeElement);
  // What had the focus may be gone (Cancel, once it is done): the row takes it, the page must not.
  useLayoutEffect(() => {
    if (held && !row.current.contains(document.activeElement)) row.current.focus({ preventScroll: true });
  });
  const tone = card?.tone;
  // A notice about a press is about the job's earlier status.
  useEffect(() => setSaid(null), [tone]);
  // The notice of a lost connection ends with the connection's return.
  const away = useStore("engine", (store) => store.away);
  useEffect(() => {
    if (!away) setSaid((now) => (now?.sentence === t("error.away") ? null : now));
  }, [away]);
  if (!card) return null;
  const current = store.current === id;
  const tab = current ? 0 : -1;
  const say = (sentence, isError = false) => {
    setSaid({ sentence, isError });
    announce(sentence);
  };
  const ask = (asked) => {
    setSaid({ sentence: asked.status, isError: false });
    setMenu(asked);
  };
  const close = () => {
    setSaid(null);
    setMenu(null);
  };
  const names = ["job", current && "current", store.selected.has(id) && "selected"].filter(Boolean).join(" ");
  return html`
    <article ref=${row} class=${names} id=${`row-${id}`} data-job=${id} data-tone=${tone} tabindex=${tab} aria-labelledby=${`prompt-${id}`} onfocusin=${() => store.focus(id)}>
      <${Pictures} ...${{ card, tab, say }} />
      <div class="job-side"><div class="job-words">
        <h2 class="job-prompt" id=${`prompt-${id}`}>${card.prompt}</h2>
        <${Meta} card=${card} tab=${tab} />
        <div class="job-now">
          <p class=${tone === "done" || isLive(card) ? "job-status unseen" : "job-status"}>${card.status}</p>
          ${isLive(card) && html`<${Progress} card=${card} />`}
          <${Facts} card=${card} />
        </div>
        ${card.notes.length > 0 && html`<ul class="job-notes">${card.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
        ${said && html`<p class=${said.isError ? "error" : "error notice"} role="alert">${said.sentence}</p>`}
        ${menu ? html`<${Question} ...${{ card, menu, close, say }} />` : html`<${Buttons} ...${{ card, tab, say, ask }} />`}
      </div></div>
    </article>`;
}

