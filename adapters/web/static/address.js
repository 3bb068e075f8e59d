/** The page's address after its `#`: `job/62` a row, `job/62/1` a picture, `grid` and `grid?q=...` the grid, `inspect` what a file says; else the feed. */

import { useEffect, useState } from "./preact.js";

const VIEWS = new Set(["grid", "inspect"]);

/** What an address names: {view, job, index, asked}, where a picture names no view. Pictures count from 1 there, and from 0 here. */
function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const [view, job, number] = path.split("/");
  if (view === "job" && /^\d+$/.test(job ?? "")) {
    const index = /^[1-9]\d*$/.test(number ?? "") ? Number(number) - 1 : null;
    // Below a picture stays what was there.
    return index === null ? { view: "feed", job: Number(job), index, asked: "" } : { job: Number(job), index };
  }
  return { view: VIEWS.has(view) ? view : "feed", job: null, index: null, asked: view === "grid" ? query : "" };
}

/** Put an address in the place of the present one: it adds nothing to the browser's history. */
export function replaceHash(hash) {
  history.replaceState(null, "", hash);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** In a component: the address, looked at again when it changes. */
export function useAddress() {
  const [at, setAt] = useState(() => ({ view: "feed", asked: "", ...parse(location.hash) }));
  useEffect(() => {
    const changed = () => setAt((before) => ({ view: before.view, asked: before.asked, ...parse(location.hash) }));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return at;
}
