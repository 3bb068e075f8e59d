/** The page's keys: they move along the feed and do to the focused row what its buttons do. `?` lists them. */

import { focusPrompt } from "./composer.js";
import { Action } from "./parts.js";
import { html, useEffect, useRef } from "./preact.js";
import { editPicture, startFrom } from "./row.js";
import { store } from "./store.js";
import { t } from "./texts.js";

/** Keys and what they do, as the list shows them. */
const LISTED = [
  ["/", "keys.prompt"],
  ["j", "keys.next"],
  ["k", "keys.previous"],
  ["Enter", "keys.open"],
  ["r", "keys.reroll"],
  ["v", "keys.vary"],
  ["u", "keys.upscale"],
  ["s", "keys.seed"],
  ["e", "keys.edit"],
  ["i", "keys.start"],
  ["f", "keys.star"],
  ["x", "keys.select"],
  ["+ − 0", "keys.zoom"],
  ["c", "keys.compare"],
  ["m", "keys.mask"],
  ["Del", "keys.delete"],
  ["?", "keys.list"],
];
const PRESSED = { r: "reroll", v: "vary", u: "upscale", s: "seed" };

/** Move the focus to a row, and the row into sight. */
export function focusRow(id) {
  const row = document.getElementById(`row-${id}`);
  if (!row) return;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const { ids, current } = store;
  if (!ids.length) return;
  const at = ids.indexOf(current);
  const inFeed = document.activeElement?.closest("#feed");
  focusRow(ids[at < 0 || !inFeed ? Math.max(at, 0) : Math.min(Math.max(at + by, 0), ids.length - 1)]);
}

function act(key) {
  const row = document.activeElement?.closest(".job");
  const card = row && store.get(Number(row.dataset.job));
  if (!card) return false;
  // The picture that has the focus, else the first.
  const figures = [...row.querySelectorAll(".picture")];
  const picture = card.pictures[Math.max(0, figures.findIndex((one) => one.contains(document.activeElement)))];
  if (key === "x") store.select([card.job_id], !store.selected.has(card.job_id));
  else if (!picture && key !== "r") return false;
  else if (key === "Enter") row.querySelector(".picture-open").click();
  else if (key === "e") editPicture(card, picture);
  else if (key === "i") startFrom(card, picture);
  else if (key === "f") store.star(card.job_id, picture.index);
  else {
    const own = `[data-action=${PRESSED[key]}]`;
    const button = figures[card.pictures.indexOf(picture)]?.querySelector(own) ?? row.querySelector(own) ?? (key === "r" && row.querySelector("[data-action=again]"));
    if (!button) return false;
    button.click();
  }
  return true;
}

/** Listen for them; `help` opens the list. */
export function useKeys(help) {
  useEffect(() => {
    const pressed = (event) => {
      const { target, key } = event;
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (document.querySelector("dialog[open]") || target.closest?.("input, textarea, select, [popover]")) return;
      let done = true;
      if (key === "/") focusPrompt();
      else if (key === "?") help();
      else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
      else if (key === "Enter") done = target.matches(".job") && act(key);
      else if ([..."eifx", ...Object.keys(PRESSED)].includes(key)) done = act(key);
      else done = false;
      if (done) event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** The list of keys, in a dialog. */
export function Keys({ open, close }) {
  const dialog = useRef();
  useEffect(() => {
    if (open && !dialog.current.open) dialog.current.showModal();
  }, [open]);
  return html`
    <dialog ref=${dialog} id="keys" class="sheet" aria-labelledby="keys-title" onClose=${close} onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
      <div class="sheet-body">
        <header class="drawer-top">
          <h2 id="keys-title">${t("keys")}</h2>
          <${Action} icon="close" bare label=${t("close")} onClick=${() => dialog.current.close()} />
        </header>
        <dl class="keys">${LISTED.map(([key, words]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${t(words)}</dd></div>`)}</dl>
      </div>
    </dialog>`;
}
