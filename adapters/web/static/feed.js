/** The feed: one row for each request, newest first. Rows far outside the window are empty boxes of their height. */

import { Action } from "./parts.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./preact.js";
import { Row } from "./row.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";

/** Rows that come and go from the document together. */
const CHUNK = 8;
const NEAR = "1200px 0px";
/** Pixels of scrolling from which new rows wait. */
const TOP = 120;

/** Some rows, or an empty box of their height while they are far away. */
function Chunk({ ids }) {
  const box = useRef();
  const [near, setNear] = useState(true);
  const [height, setHeight] = useState(0);
  useEffect(() => {
    const seen = new IntersectionObserver(
      ([entry]) => {
        // What has the focus stays, however far it is.
        const holds = box.current.contains(document.activeElement);
        if (!entry.isIntersecting && !holds) setHeight(entry.boundingClientRect.height);
        setNear(entry.isIntersecting || holds);
      },
      { rootMargin: NEAR },
    );
    seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  return html`<div ref=${box} class="chunk" style=${{ minHeight: near ? "" : `${height}px` }}>
    ${near && ids.map((id) => html`<${Row} key=${id} id=${id} />`)}
  </div>`;
}

// The oldest rows make full chunks from the end, so that a new row touches the first chunk alone.
function chunks(ids) {
  const first = ids.length % CHUNK;
  const found = first ? [ids.slice(0, first)] : [];
  for (let at = first; at < ids.length; at += CHUNK) found.push(ids.slice(at, at + CHUNK));
  return found;
}

/** Shows how many rows wait, and reveals them. */
function Pill() {
  const count = useStore("list", (store) => store.fresh.size);
  if (!count) return null;
  const show = () => {
    store.reveal();
    scrollTo({ top: 0 });
  };
  return html`<div class="pill-place"><button type="button" class="pill" id="fresh" onClick=${show}>${t("fresh", { n: count })}</button></div>`;
}

/** Requests that nobody answered yet. */
function Outbox() {
  const items = useStore("outbox", (store) => store.outbox);
  const away = useStore("engine", (store) => store.away);
  if (!away || !items.length) return null;
  return html`<ul class="outbox">
    ${items.map(
      ({ key, form }) => html`<li key=${key} class="unsent"><span class="unsent-prompt">${form.prompt}</span><span class="quiet">${t("unsent")}</span>
        <${Action} icon="close" label=${t("unsent.remove")} bare onClick=${() => store.withdraw(key)} /></li>`,
    )}
  </ul>`;
}

/** `empty`: what is shown before the first request. */
export function Feed({ empty }) {
  const ids = useStore("list", (store) => store.ids);
  const ready = useStore("list", (store) => store.ready);
  const end = useRef();
  useLayoutEffect(() => {
    const scrolled = () => store.reading(scrollY > TOP);
    addEventListener("scroll", scrolled, { passive: true });
    return () => {
      removeEventListener("scroll", scrolled);
      store.reading(false);
    };
  }, []);
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && store.loadOlder(), { rootMargin: NEAR });
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [ids.length]);
  // A chunk whose rows are the same stays the same element, which Preact then passes over.
  const made = useRef(new Map());
  const parts = useMemo(() => {
    const now = new Map();
    for (const part of chunks(ids)) {
      const key = part.join();
      now.set(key, made.current.get(key) ?? html`<${Chunk} key=${part.at(-1)} ids=${part} />`);
    }
    made.current = now;
    return [...now.values()];
  }, [ids]);
  return html`
    <section id="feed" class="feed" aria-label=${t("feed")} aria-busy=${ready ? undefined : "true"}>
      <${Pill} />
      <${Outbox} />
      ${ids.length > 0 && html`<div role="feed" aria-label=${t("feed")}>${parts}</div>`}
      ${ready && !ids.length && empty}
      <div ref=${end} class="feed-end" aria-hidden="true"></div>
    </section>`;
}
