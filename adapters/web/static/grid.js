/** The grid: every finished picture as a tile, and a search. */

import { Refused, feed } from "./api.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { Action } from "./parts.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";
import { openViewer } from "./viewer.js";

export function Grid() {
  const every = useStore("list", (store) => store.list());
  const [found, setFound] = useState(null);
  const [starred, setStarred] = useState(false);
  const [wrong, setWrong] = useState("");
  const [input, end] = [useRef(), useRef()];
  const search = async (favourites) => {
    const q = `${input.current.value.trim()} ${favourites ? "is:favourite" : ""}`.trim();
    try {
      setFound(q ? (await feed({ q })).cards : null);
      setWrong("");
    } catch (error) {
      store.failed(error);
      if (error instanceof Refused) setWrong(error.text);
    }
  };
  const submit = (event) => {
    event.preventDefault();
    search(starred);
  };
  const star = () => {
    setStarred(!starred);
    search(!starred);
  };
  const cards = found ?? every;
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && store.loadOlder(), { rootMargin: "600px" });
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [cards.length]);
  const tiles = cards.flatMap((card) => card.pictures.map((picture) => ({ card, picture })));
  return html`
    <section id="grid" aria-label=${t("grid")}>
      <form id="search" class="search" role="search" onSubmit=${submit}>
        <input ref=${input} id="query" type="search" placeholder=${t("search")} aria-label=${t("search")} maxlength="200" aria-describedby="found" />
        <${Action} icon="star" id="only-favourites" bare label=${t("search.favourites")} pressed=${starred} onClick=${star} />
      </form>
      <p id="found" class=${wrong ? "error" : "about"} role="status">${wrong || (found && !tiles.length ? t("search.nothing") : "")}</p>
      <ul class="tiles">
        ${tiles.map(
          ({ card, picture }) => html`
            <li key=${picture.url}>
              <button type="button" class=${picture.spoiler ? "tile covered" : "tile"} aria-label=${t("tile", { prompt: card.prompt })} title=${card.prompt}
                onClick=${() => openViewer(card.job_id, picture.index)}>
                <img alt="" loading="lazy" decoding="async" width=${picture.width} height=${picture.height} src=${picture.thumb ?? picture.url} />
              </button>
            </li>`,
        )}
      </ul>
      <div ref=${end} aria-hidden="true"></div>
    </section>`;
}
