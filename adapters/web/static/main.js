/** Puts the page together: header, composer, feed or grid, viewer; and the page's title and address. */

import { replaceHash, useAddress } from "./address.js";
import { Away, info } from "./api.js";
import { BatchDialog } from "./batch.js";
import { Composer } from "./composer.js";
import { draft } from "./draft.js";
import { Empty } from "./empty.js";
import { Feed } from "./feed.js";
import { Grid, focusGrid } from "./grid.js";
import { Banner, Header } from "./header.js";
import { keepFor } from "./keep.js";
import { Keys, focusRow, useKeys } from "./keys.js";
import { Mask } from "./mask.js";
import { Parameters } from "./parameters.js";
import { useOnTop } from "./on_top.js";
import { Action } from "./parts.js";
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { SelectionBar } from "./selection.js";
import { store, useStore } from "./store.js";
import { t, use } from "./texts.js";
import { Viewer } from "./viewer.js";

const AGAIN_MS = 1500;
const SAID_MS = 10000;
const NARROW = matchMedia("(max-width: 48rem)");

// Show the progress of the current drawing in the window's title.
function useTitle() {
  const drawn = useStore("open", (store) => store.open().find(({ progress }) => progress !== null));
  const name = drawn ? t("title.drawing", { percent: Math.round(drawn.progress * 100) }) : "Easel";
  useEffect(() => {
    document.title = name;
  }, [name]);
}

/** A notice at the edge of the page, above every dialog; it closes by itself. */
function Said() {
  const said = useStore("said", (store) => store.said);
  const box = useOnTop(said);
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => store.said === said && store.say(""), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  if (!said) return null;
  const close = () => store.say("");
  const undo = () => {
    close();
    said.undo();
  };
  return html`<div ref=${box} id="said" popover="manual" class=${`said ${said.tone}`} role="status"><p>${said.sentence}</p>
    ${said.undo && html`<${Action} label=${t("undo")} onClick=${undo} data-action="undo" />`}
    <${Action} icon="close" bare label=${t("close")} onClick=${close} /></div>`;
}

function styled(href) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
  return new Promise((resolve, reject) => {
    Object.assign(link, { onload: resolve, onerror: reject });
    document.head.append(link);
  });
}

let inspection = null;

/** The view of inspection. It is fetched when it is first shown, since most people never open it. */
function Inspection() {
  const [shown, setShown] = useState(null);
  useEffect(() => {
    inspection ??= Promise.all([import("./inspect.js"), styled("/static/inspect.css")]);
    inspection.then(
      ([view]) => setShown(view),
      () => {
        inspection = null;
        store.failed(new Away("no view"));
      },
    );
  }, []);
  return shown && html`<${shown.Inspect} />`;
}

function App() {
  const { view, job, index, asked } = useAddress();
  const [help, setHelp] = useState(false);
  useKeys(() => setHelp(true));
  useTitle();
  const seen = useRef(null);
  useEffect(() => {
    const closed = seen.current !== null && index === null;
    seen.current = index;
    // The viewer fetches what it shows; closing it returns to where it was opened.
    if (job === null || index !== null || closed) return;
    store.reach(job).then((card) => {
      if (card) requestAnimationFrame(() => focusRow(job));
      else store.say(t("job.missing", { job }), "problem");
    });
  }, [job, index]);
  const drawn = () => {
    // On a phone the keyboard would cover what comes.
    if (NARROW.matches && matchMedia("(pointer: coarse)").matches) document.activeElement?.blur();
    store.reveal();
    if (view !== "feed") location.hash = "#feed";
    scrollTo({ top: 0 });
  };
  return html`
    <a class="skip" href=${`#${view}`} onClick=${(event) => (event.preventDefault(), view === "grid" ? focusGrid() : focusRow(store.current ?? store.ids[0]))}>${t("skip.feed")}</a>
    <a class="skip" href="#prompt" onClick=${(event) => (event.preventDefault(), document.getElementById("prompt").focus())}>${t("skip.prompt")}</a>
    <${Header} view=${view} help=${() => setHelp(true)} />
    <div class="dock"><${Composer} onDrawn=${drawn} /></div>
    <${Banner} />
    <main class="wall">${{ grid: () => html`<${Grid} hash=${asked} />`, inspect: () => html`<${Inspection} />`, feed: () => html`<${Feed} empty=${html`<${Empty} />`} />` }[view]()}</main>
    <${SelectionBar} />
    <${Said} />
    <${Viewer} at=${index === null ? null : { job, index }} close=${() => replaceHash(`#job/${job}`)} />
    <${Mask} />
    <${Parameters} />
    <${BatchDialog} />
    <${Keys} open=${help} close=${() => setHelp(false)} />`;
}

async function about() {
  for (;;) {
    try {
      return await info();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const first = await about();
use(first.texts);
document.documentElement.lang = first.lang;
store.about = first;
keepFor(first.account?.id ?? "");
await draft.open(first);
const app = document.getElementById("app");
render(html`<${App} />`, app);
app.hidden = false;
document.getElementById("prompt").focus({ preventScroll: true });
await store.start(first);
