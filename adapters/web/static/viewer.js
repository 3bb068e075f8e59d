/** A picture large, in a dialog of its own: zoom, swipe and arrows through all pictures, its actions, its facts, its lineage. */

import { replaceHash } from "./address.js";
import { Refused, job as fetchJob } from "./api.js";
import { Divider, beforeOf } from "./compare.js";
import { addReference, fillComposer, focusPrompt } from "./composer.js";
import { openMask } from "./mask.js";
import { Panel } from "./panel.js";
import { Action, Icon } from "./parts.js";
import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { buttonsOf, editPicture, fileName, pressed, startFrom } from "./row.js";
import { removeJobs } from "./selection.js";
import { store, useStore } from "./store.js";
import { announce, t } from "./texts.js";
import { Zoom } from "./zoom.js";

const MIDDLE = 50;
const NUDGE = 60;
/** Keys and the buttons that they press. */
const KEYS = { v: "vary", u: "upscale", s: "seed", r: "reroll" };

/** The feed, as the viewer turns through it. */
const FEED = { cards: () => store.list(), more: () => store.loadOlder() };

let through = FEED;
/** The address from which this page has opened the viewer; null where the viewer was opened by an address. */
let entered = null;
/** Resolves when the address from before the viewer is there again; null while nothing is gone back to. */
let leaving = null;
/** Addresses of covered pictures that somebody has uncovered: for as long as the page is open. */
const uncovered = new Set();
/** Cards of jobs that the feed has not reached. */
const aside = new Map();

/**
 * Open a picture; its address becomes the page's. `list` is what arrows turn through, newest first: {cards(), more()},
 * where `more` fetches older ones and resolves with whether there were any; without it, the feed.
 */
export async function openViewer(jobId, index, list = FEED) {
  // Going back takes a moment: the address of the last time must be left before there is another.
  await leaving;
  through = list;
  entered ??= location.hash;
  location.hash = address(jobId, index);
}

function address(jobId, index) {
  return `#job/${jobId}/${index + 1}`;
}

// Back to where the viewer was opened, also where other pictures were gone to since.
function leave(close) {
  if (entered === null) return close();
  const before = entered;
  leaving = new Promise((left) => {
    const arrived = () => {
      if (location.hash !== before) replaceHash(before || location.pathname + location.search);
      leaving = null;
      left();
    };
    addEventListener("hashchange", arrived, { once: true });
  });
  return history.back();
}

/** In a component: a job's card; null while it is fetched, undefined where there is none. */
function useCard(id) {
  const known = useStore(`card:${id}`, (store) => store.get(id));
  const [missing, setMissing] = useState(null);
  const [, again] = useState(0);
  useEffect(() => {
    if (id === undefined || id === null || known || aside.has(id) || store.removed.has(id)) return;
    fetchJob(id).then(
      ({ card }) => {
        aside.set(id, card);
        again((count) => count + 1);
      },
      (error) => {
        store.failed(error);
        if (error instanceof Refused) setMissing(id);
      },
    );
  }, [id, known]);
  return known ?? aside.get(id) ?? (missing === id ? undefined : null);
}

function all() {
  return through.cards().flatMap((card) => (store.get(card.job_id) ?? card).pictures.map(({ index }) => ({ job: card.job_id, index })));
}

// The next picture in a direction; null at the end.
async function next({ job, index }, by) {
  const find = () => {
    const list = all();
    const here = list.findIndex((one) => one.job === job && one.index === index);
    if (here >= 0) return list[here + by] ?? null;
    // An older picture than those here, by its own address.
    return by < 0 ? (list.findLast((one) => one.job > job) ?? null) : (list.find((one) => one.job < job) ?? null);
  };
  return find() ?? (by > 0 && (await through.more()) ? find() : null);
}

/** Zoom for the stage, made anew for each picture, and what it tells. */
function useZoom(picture, turn) {
  const [stage, box] = [useRef(), useRef()];
  const zoom = useRef(null);
  const [scale, setScale] = useState(1);
  const latest = useRef(turn);
  latest.current = turn;
  useLayoutEffect(() => {
    if (!picture) {
      zoom.current = null;
      return;
    }
    zoom.current ??= new Zoom(stage.current, box.current, {
      changed: ({ scale: now, x }) => {
        setScale(now);
        stage.current.style.setProperty("--zoom", String(now));
        stage.current.style.setProperty("--pan", `${x}px`);
      },
      swiped: (by) => latest.current(by),
      // As in other viewers, a click beside the picture closes.
      tapped: (target) => target === stage.current && stage.current.closest("dialog").close(),
    });
  }, [Boolean(picture)]);
  useLayoutEffect(() => zoom.current?.reset(), [picture?.url]);
  return { stage, box, zoom, scale };
}

function Picture({ card, picture, before, at, stage, box, move, uncover, covered }) {
  const enlarge = store.enlarge(card);
  const style = { "--width": `${picture.width * Math.max(1, 1.5 * enlarge)}px`, "--ratio": picture.width / picture.height };
  const small = enlarge > 1 ? "small" : "";
  return html`
    <div ref=${stage} class=${before ? "stage comparing" : "stage"} style=${{ "--at": at / 100 }}>
      <div ref=${box} class=${covered ? "sheet-of covered" : "sheet-of"} style=${style}>
        ${picture.medium && !covered && html`<img class="soft" alt="" src=${picture.medium} />`}
        ${before && html`<img class=${`earlier ${small}`} alt="" src=${before} draggable=${false} />`}
        <img id="viewer-picture" key=${picture.url} class=${`later ${small}`} width=${picture.width} height=${picture.height} alt=${covered ? "" : picture.alt} src=${picture.url} draggable=${false} />
      </div>
      ${covered && html`<button type="button" class="uncover" id="viewer-uncover" onClick=${uncover}>${t("picture.uncover")}</button>`}
      ${before && html`<${Divider} at=${at} move=${move} />`}
    </div>`;
}

function Bar({ card, picture, scale, zoom, compares, comparing, act, panel }) {
  const percent = Math.round(scale * 100);
  const star = picture.star && html`<${Action} icon="star" bare id="viewer-star" label=${t(picture.favourite ? "star.off" : "star.on")} pressed=${picture.favourite} onClick=${() => act("star")} />`;
  const quick = buttonsOf(card, picture.index).filter(({ action }) => ["vary", "upscale"].includes(action));
  return html`
    <div class="viewer-bar" role="group" aria-label=${t("viewer.tools")}>
      ${star}
      ${quick.map(({ action, icon, label }) => html`<${Action} key=${action} icon=${icon} bare label=${label} data-quick=${action} onClick=${() => act(action)} />`)}
      <span class="bar-gap" aria-hidden="true"></span>
      <${Action} icon="minus" bare id="viewer-out" label=${t("zoom.out")} onClick=${() => zoom.current.step(-1)} />
      <button type="button" id="viewer-scale" class="plain scale" aria-label=${t("zoom.reset", { percent })} title=${t("zoom.reset", { percent })} onClick=${() => zoom.current.reset()}>${percent} %</button>
      <${Action} icon="plus" bare id="viewer-in" label=${t("zoom.in")} onClick=${() => zoom.current.step(1)} />
      <span class="bar-gap" aria-hidden="true"></span>
      ${compares && html`<${Action} icon="compare" bare id="viewer-compare" label=${t("compare")} pressed=${comparing} onClick=${() => act("compare")} />`}
      <a id="viewer-download" class="plain bare" href=${picture.download} download aria-label=${t("download")} title=${t("download")}><${Icon} name="download" /></a>
      <${Action} icon="info" bare id="viewer-info" label=${t("viewer.about")} pressed=${panel} aria-controls="viewer-panel" onClick=${() => act("info")} />
    </div>`;
}

const WIDE = matchMedia("(min-width: 60rem)");

/** The dialog. `at`: {job, index}, or null while it is closed; `close` closes it where the history has no earlier address. */
export function Viewer({ at, close }) {
  const dialog = useRef();
  const opened = useRef(null);
  const seen = useRef(null);
  const composing = useRef(false);
  const [, uncover] = useState(0);
  const [said, setSaid] = useState(null);
  const [panel, setPanel] = useState(WIDE.matches);
  const [comparing, setComparing] = useState(false);
  const [divided, setDivided] = useState(MIDDLE);
  const card = useCard(at?.job);
  const position = card?.pictures.findIndex(({ index }) => index === at.index) ?? -1;
  const picture = card?.pictures[position];
  const parentCard = useCard(picture ? card.parent?.job_id : null);

  const go = (to) => to && replaceHash(address(to.job, to.index));
  const turn = async (by) => {
    const to = await next(at, by);
    if (to) go(to);
    else announce(t(by > 0 ? "viewer.last" : "viewer.first"));
  };
  const { stage, box, zoom, scale } = useZoom(picture, turn);

  useEffect(() => {
    const { current } = dialog;
    if (picture && !current.open) {
      // Rows that come meanwhile wait behind their pill, so that nothing moves under the dialog.
      store.reading(true);
      opened.current = document.activeElement;
      composing.current = false;
      current.showModal();
      current.focus();
    }
    if (!at && current.open) current.close();
    if (at && card === undefined) {
      store.say(t("job.missing", { job: at.job }), "problem");
      close();
    }
    if (picture) seen.current = at;
    setSaid(null);
    setDivided(MIDDLE);
  }, [at?.job, at?.index, Boolean(picture), card === undefined]);

  // The neighbours are fetched while one is looked at.
  useEffect(() => {
    if (!picture) return;
    const list = all();
    const here = list.findIndex((one) => one.job === at.job && one.index === at.index);
    for (const one of [list[here + 1], list[here - 1]]) {
      const near = one && store.get(one.job)?.pictures.find(({ index }) => index === one.index);
      if (near) new Image().src = near.url;
    }
  }, [picture?.url]);

  const closed = () => {
    if (at) leave(close);
    entered = null;
    const { job, index } = seen.current ?? {};
    const first = opened.current;
    if (composing.current) return;
    // Back to where it was opened, or to the picture that was seen last.
    const shown = document.querySelector(`[data-picture="${job}/${index}"]`);
    const back = shown && !first?.matches?.(`[data-picture="${job}/${index}"]`) ? shown : first;
    setTimeout(() => {
      if (!back?.isConnected) return;
      back.focus({ preventScroll: true });
      back.scrollIntoView?.({ block: "nearest" });
    });
  };

  const before = picture && beforeOf(card);
  const origin = parentCard?.pictures.find(({ index }) => index === card?.parent?.index);
  const covered = Boolean(picture?.spoiler) && !uncovered.has(picture.url);
  const beforeIsOpen = !card?.parent || (parentCard !== null && (!origin?.spoiler || uncovered.has(origin.url)));
  const compares = Boolean(before) && !covered && beforeIsOpen;
  const compared = compares && comparing;

  const say = (sentence, isError = false) => {
    setSaid({ sentence, isError });
    announce(sentence);
  };
  // What goes on in the composer is done there.
  const compose = async (work) => {
    composing.current = true;
    dialog.current.close();
    await work;
    focusPrompt();
  };
  const acts = {
    star: () => store.star(at.job, at.index),
    compare: () => setComparing(!comparing),
    info: () => setPanel(!panel),
    edit: () => compose(editPicture(card, picture)),
    start: () => compose(startFrom(card, picture)),
    reference: () => compose(addReference(picture.url, fileName(card, picture))),
    reuse: () => compose(fillComposer({ ...card.recipe, seed: picture.seed ?? card.recipe.seed, count: 1 })),
    prompt: () => compose(fillComposer({ prompt: card.recipe?.prompt ?? card.prompt })),
    remix: () => compose(fillComposer({ ...card.recipe, seed: "" })),
    mask: async () => {
      if (await openMask({ source: picture.url, name: fileName(card, picture) })) compose(null);
    },
    delete: async () => {
      const to = (await next({ job: at.job, index: card.pictures.at(-1).index }, 1)) ?? (await next({ job: at.job, index: card.pictures[0].index }, -1));
      // Go there first: the shown picture must not vanish.
      go(to);
      if (!(await removeJobs([at.job]))) go(at);
      else if (!to) dialog.current.close();
    },
  };
  const act = (name) => {
    if (acts[name]) return acts[name]();
    const button = card.buttons.flat().find((one) => one.action === name && (one.index === at.index || one.index === null));
    return button && pressed(button.id, say);
  };

  const keyed = (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select")) return;
    const zoomed = scale > 1;
    const keys = {
      ArrowLeft: () => (zoomed && event.shiftKey ? zoom.current.pan(NUDGE, 0) : turn(-1)),
      ArrowRight: () => (zoomed && event.shiftKey ? zoom.current.pan(-NUDGE, 0) : turn(1)),
      ArrowUp: () => zoomed && zoom.current.pan(0, NUDGE),
      ArrowDown: () => zoomed && zoom.current.pan(0, -NUDGE),
      "+": () => zoom.current.step(1),
      "=": () => zoom.current.step(1),
      "-": () => zoom.current.step(-1),
      0: () => zoom.current.reset(),
      i: () => act("info"),
      c: () => compares && act("compare"),
      e: () => act("edit"),
      f: () => act("star"),
      m: () => act("mask"),
      d: () => document.getElementById("viewer-download").click(),
      Delete: () => act("delete"),
    };
    const done = keys[key] ?? (key in KEYS ? () => act(KEYS[key]) : null);
    // In the panel, arrows scroll.
    if (!done || (["ArrowUp", "ArrowDown"].includes(key) && (!zoomed || target.closest(".panel")))) return;
    event.preventDefault();
    done();
  };
  const move = useCallback((to) => setDivided(to), []);
  const round = (id, icon, label, onClick) => html`<button id=${id} class="round" type="button" aria-label=${label} title=${label} onClick=${onClick}><${Icon} name=${icon} /></button>`;
  return html`
    <dialog ref=${dialog} id="viewer" class=${panel ? "viewer with-panel" : "viewer"} tabindex="-1" aria-label=${t("viewer")} onClose=${closed} onKeyDown=${keyed}>
      ${picture && html`
        <${Picture} card=${card} picture=${picture} before=${compared ? before : null} at=${divided} move=${move} stage=${stage} box=${box} covered=${covered}
          uncover=${() => (uncovered.add(picture.url), dialog.current.focus(), uncover((count) => count + 1))} />
        ${round("viewer-previous", "previous", t("viewer.previous"), () => turn(-1))}
        ${round("viewer-next", "next", t("viewer.next"), () => turn(1))}
        <${Bar} card=${card} picture=${picture} scale=${scale} zoom=${zoom} compares=${compares} comparing=${compared} act=${act} panel=${panel} />
        ${!panel && said && html`<p class=${said.isError ? "viewer-said error" : "viewer-said"}>${said.sentence}</p>`}
        ${panel && html`<${Panel} ...${{ card, picture, position, parentCard, act, go, said, uncovered }} />`}`}
      ${round("viewer-close", "close", t("viewer.close"), () => dialog.current.close())}
    </dialog>`;
}
