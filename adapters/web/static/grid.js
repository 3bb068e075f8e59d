/** The grid: every picture as a tile under the heading of its day, with a search, filters and a selection. */

import { Refused, feed } from "./api.js";
import { Filters, fits, wanted } from "./filters.js";
import { Empty } from "./empty.js";
import { Component, html, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./preact.js";
import { Icon } from "./parts.js";
import { selection, useSelection } from "./selection.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";
import { openViewer } from "./viewer.js";

const PAGE = 48;
const GAP = 8;
const HEADING = 56;
const LEAST = 152;
const LEAST_NARROW = 104;
/** Rows beyond the window's edges that are there, in heights of the window. */
const BEYOND = 1;
/** Older jobs are fetched this many heights of the window before the end. */
const AHEAD = 2;

/** What a search has found; its cards are replaced by newer ones of the store. */
class Found {
  cards = [];
  older = true;
  refused = "";
  loading = null;

  constructor(asked, changed) {
    this.asked = asked;
    this.changed = changed;
  }

  /** Fetch the next page; resolves with whether anything came. */
  more() {
    if (!this.older) return Promise.resolve(false);
    this.loading ??= this.#more().finally(() => {
      this.loading = null;
      this.changed();
    });
    return this.loading;
  }

  async #more() {
    try {
      const page = await feed({ ...this.asked, limit: PAGE, before: this.cards.at(-1)?.job_id });
      this.cards = [...this.cards, ...page.cards];
      this.older = page.older;
      return page.cards.length > 0;
    } catch (error) {
      store.failed(error);
      this.older = false;
      this.refused = error instanceof Refused ? error.text : t("error.away");
      return false;
    }
  }
}

/** The cards that the grid shows, and how to fetch older ones. */
function useCards(hash) {
  const asked = useMemo(() => wanted(hash), [hash]);
  const [, again] = useReducer((count) => count + 1, 0);
  const found = useRef(null);
  const ids = useStore("list", (store) => store.ids);
  const revision = useStore("pictures", (store) => store.revision);
  const ready = useStore("list", (store) => store.ready);
  useLayoutEffect(() => {
    found.current = asked ? new Found(asked, again) : null;
    found.current?.more();
    again();
  }, [asked]);
  const { current } = found;
  // Deleted meanwhile: what the store had and has no more.
  const shown = () =>
    asked ? (found.current?.cards ?? []).filter((card) => !store.removed.has(card.job_id) && fits(card, hash)).map((card) => store.get(card.job_id) ?? card) : store.list();
  // Laid out again only when pictures came, went or changed: scrolling must cost nothing.
  const cards = useMemo(shown, [asked, current?.cards, ids, revision]);
  if (!asked) return { cards, older: store.older, ready, refused: "", list: { cards: shown, more: () => store.loadOlder(PAGE) } };
  return { cards, older: current?.older ?? true, ready: Boolean(current) && (!current.loading || cards.length > 0), refused: current?.refused ?? "", list: { cards: shown, more: () => found.current.more() } };
}

const dayOf = (card) => (card.created_at ? new Date(card.created_at).toDateString() : "");

/** A day as a heading: today, yesterday, or its date. */
function named(day) {
  if (!day) return t("grid.undated");
  const lang = document.documentElement.lang;
  const date = new Date(day);
  const ago = Math.round((new Date(new Date().toDateString()) - date) / 864e5);
  if (ago < 2) {
    const words = new Intl.RelativeTimeFormat(lang, { numeric: "auto" }).format(-ago, "day");
    return words.charAt(0).toUpperCase() + words.slice(1);
  }
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString(lang, { weekday: "long", day: "numeric", month: "long", year });
}

/** The tiles in rows below the headings of their days, each row with its place: {rows, tiles, height}. */
function laidOut(cards, columns, side) {
  const rows = [];
  const tiles = [];
  let top = 0;
  let day = null;
  let row = null;
  for (const card of cards) {
    for (const picture of card.pictures) {
      if (dayOf(card) !== day) {
        day = dayOf(card);
        rows.push({ key: `day ${day}`, day, top, height: HEADING });
        top += HEADING;
        row = null;
      }
      if (!row || row.tiles.length === columns) {
        row = { key: `row ${card.job_id}/${picture.index}`, tiles: [], top, height: side + GAP };
        rows.push(row);
        top += side + GAP;
      }
      row.tiles.push(tiles.length);
      tiles.push({ card, picture, job: card.job_id, index: picture.index, row: rows.length - 1 });
    }
  }
  return { rows, tiles, height: top };
}

/** The first row that ends below a place. */
function firstBelow(rows, place) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height > place) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One picture. It is drawn again only when something of it has changed: a window of the grid has hundreds. */
class Tile extends Component {
  shouldComponentUpdate(next) {
    return Object.keys(next).some((name) => next[name] !== this.props[name]);
  }

  render({ url, thumb, covered, favourite, prompt, picked, tab, at, count, job, index }) {
    return html`
      <li class=${picked ? "cell picked" : "cell"} aria-setsize=${count} aria-posinset=${at + 1}>
        <button type="button" class=${covered ? "tile covered" : "tile"} tabindex=${tab} data-at=${at} data-picture=${`${job}/${index}`}
          aria-label=${t(picked ? "tile.selected" : "tile", { prompt })} title=${prompt}>
          <img alt="" decoding="async" width="320" height="320" src=${thumb ?? url} />
        </button>
        ${favourite && html`<span class="tile-star"><${Icon} name="star" /></span>`}
        <label class="tile-check"><input type="checkbox" tabindex="-1" checked=${picked} data-check=${at} aria-label=${t("tile.select", { prompt })} /><span aria-hidden="true"><${Icon} name="check" /></span></label>
      </li>`;
  }
}

/** How many tiles fit in a row, and the side of a tile in pixels. */
function useColumns(box) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    seen.observe(box.current);
    setWidth(Math.floor(box.current.clientWidth));
    return () => seen.disconnect();
  }, []);
  const columns = Math.max(2, Math.floor((width + GAP) / ((width < 480 ? LEAST_NARROW : LEAST) + GAP)));
  return { columns, side: Math.max(1, Math.floor((width - (columns - 1) * GAP) / columns)) };
}

/** The part of the page that is in sight, from the top of a box; changed only when another row comes near. */
function useWindow(box, step) {
  const [from, setFrom] = useState(0);
  useLayoutEffect(() => {
    const look = () => {
      const top = -(box.current?.getBoundingClientRect().top ?? 0);
      setFrom(Math.floor(top / step) * step);
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [step]);
  return from;
}

/** Move the focus to the tile that Tab would lead to. */
export function focusGrid() {
  document.querySelector('.grid-tiles [data-at][tabindex="0"]')?.focus();
}

/** `hash`: what is asked for, as the page's address has it behind `#grid?`. */
export function Grid({ hash = "" }) {
  const { cards, older, ready, refused, list } = useCards(hash);
  const chosen = useSelection();
  const box = useRef();
  const [current, setCurrent] = useState(0);
  const focusing = useRef(false);
  const { columns, side } = useColumns(box);
  const { rows, tiles, height } = useMemo(() => laidOut(cards, columns, side), [cards, columns, side]);
  const from = useWindow(box, side + GAP);
  const beyond = innerHeight * BEYOND;
  const first = firstBelow(rows, from - beyond);
  const last = firstBelow(rows, from + innerHeight + beyond);
  const near = from + innerHeight * (1 + AHEAD) > height;
  useEffect(() => {
    if (near && older) list.more();
  }, [near, older, cards.length]);
  useLayoutEffect(() => {
    if (!focusing.current) return;
    const tile = box.current.querySelector(`[data-at="${current}"]`);
    if (!tile) return;
    focusing.current = false;
    tile.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
  });

  const focusTile = (at) => {
    const to = Math.min(Math.max(at, 0), tiles.length - 1);
    focusing.current = true;
    setCurrent(to);
    // A row far from here is not in the document yet.
    const row = rows[tiles[to].row];
    const top = box.current.getBoundingClientRect().top + row.top;
    if (top < 0 || top + row.height > innerHeight) scrollBy({ top: top - innerHeight / 3 });
  };
  const clicked = (event) => {
    const check = event.target.closest("[data-check]");
    if (check) {
      const tile = tiles[Number(check.dataset.check)];
      if (event.shiftKey) selection.range(tiles, tile);
      else selection.toggle(tile);
      check.checked = selection.has(tile.job, tile.index);
      return;
    }
    const button = event.target.closest("[data-at]");
    if (!button) return;
    const at = Number(button.dataset.at);
    setCurrent(at);
    if (event.shiftKey) selection.range(tiles, tiles[at]);
    else if (event.ctrlKey || event.metaKey) selection.toggle(tiles[at]);
    else openViewer(tiles[at].job, tiles[at].index, list);
  };
  const keyed = (event) => {
    const button = event.target.closest("[data-at]");
    if (!button || !tiles.length) return;
    const at = Number(button.dataset.at);
    const { key } = event;
    const go = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: above(at, -1), ArrowDown: above(at, 1), Home: 0, End: tiles.length - 1 }[key];
    if (go !== undefined) {
      if (event.shiftKey) {
        selection.anchor ??= `${tiles[at].job}/${tiles[at].index}`;
        selection.range(tiles, tiles[Math.min(Math.max(go, 0), tiles.length - 1)]);
      }
      focusTile(go);
    } else if (key === "x" || key === "X") {
      if (event.shiftKey) selection.range(tiles, tiles[at]);
      else selection.toggle(tiles[at]);
    } else if (key === "a" && (event.ctrlKey || event.metaKey)) selection.set(tiles, true);
    else if (key === "f") store.star(tiles[at].job, tiles[at].index);
    else if (key === "Escape" && chosen.size) selection.clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  // The tile above or below, also across a day's heading.
  const above = (at, by) => {
    let { row } = tiles[at];
    const column = rows[row].tiles.indexOf(at);
    do row += by;
    while (rows[row]?.day !== undefined);
    const line = rows[row]?.tiles;
    return line ? line[Math.min(column, line.length - 1)] : at;
  };
  // One tile can be reached by Tab, also where the focused one is far away.
  const inSight = rows.slice(first, last + 1).flatMap((row) => row.tiles ?? []);
  const stop = inSight.includes(current) ? current : (inSight[0] ?? 0);
  const shown = rows.slice(first, last + 1);
  const nothing = ready && !tiles.length && !older;
  return html`
    <section id="grid" class="grid" aria-label=${t("grid")} aria-busy=${ready ? undefined : "true"}>
      <${Filters} hash=${hash} count=${tiles.length} more=${older} refused=${refused} />
      <div ref=${box} class=${chosen.size ? "grid-tiles choosing" : "grid-tiles"} style=${{ height: `${height}px`, "--side": `${side}px`, "--columns": columns }} onClick=${clicked} onKeyDown=${keyed}>
        ${shown.map((row) =>
          row.day !== undefined
            ? html`<h2 key=${row.key} class="grid-day" style=${{ top: `${row.top}px` }}>${named(row.day)}</h2>`
            : html`<ul key=${row.key} class="grid-row" style=${{ top: `${row.top}px` }}>
                ${row.tiles.map((at) => {
                  const { card, picture, job, index } = tiles[at];
                  return html`<${Tile} key=${`${job}/${index}`} url=${picture.url} thumb=${picture.thumb} covered=${picture.spoiler} favourite=${picture.favourite} prompt=${card.prompt}
                    picked=${chosen.has(job, index)} tab=${at === stop ? 0 : -1} at=${at} count=${older ? -1 : tiles.length} job=${job} index=${index} />`;
                })}
              </ul>`,
        )}
      </div>
      ${nothing && !refused && (wanted(hash) ? html`<${Nothing} />` : html`<${Empty} />`)}
      ${older && ready && html`<p class="grid-more quiet">${t("grid.loading")}</p>`}
    </section>`;
}

function Nothing() {
  return html`<div class="empty" id="nothing"><h2>${t("search.nothing")}</h2><p class="quiet">${t("search.nothing.about")}</p><a class="plain" href="#grid">${t("filters.clear")}</a></div>`;
}
