/** A slider over a picture: on its left the source picture, on its right the picture. */

import { html, useLayoutEffect, useRef } from "./preact.js";
import { t } from "./texts.js";

const STEP = 2;

/** The address of the picture that a card's pictures were made from, to compare with; null where there is none. */
export function beforeOf(card) {
  const { parent, recipe, kind } = card;
  if (parent && ["upscale", "vary"].includes(kind)) return `/pictures/${parent.job_id}/${parent.index}.png`;
  return recipe?.start ?? recipe?.references?.[0] ?? null;
}

/** The line and its handle. `at` is its place in percent of the stage, and `move` sets it. Keys move the range field below it. */
export function Divider({ at, move }) {
  const box = useRef();
  useLayoutEffect(() => {
    const { current } = box;
    const to = ({ clientX }) => {
      const { left, width } = current.parentElement.getBoundingClientRect();
      move(Math.min(Math.max(((clientX - left) / width) * 100, 0), 100));
    };
    const down = (event) => {
      event.stopPropagation();
      current.setPointerCapture(event.pointerId);
      to(event);
    };
    const moved = (event) => current.hasPointerCapture(event.pointerId) && to(event);
    current.addEventListener("pointerdown", down);
    current.addEventListener("pointermove", moved);
    return () => {
      current.removeEventListener("pointerdown", down);
      current.removeEventListener("pointermove", moved);
    };
  }, [move]);
  return html`
    <div ref=${box} class="divider" style=${{ "--at": `${at}%` }}>
      <input id="compare-slider" type="range" min="0" max="100" step=${STEP} value=${at} aria-label=${t("compare.slider")}
        aria-valuetext=${t("compare.value", { percent: Math.round(at) })} onInput=${(event) => move(Number(event.target.value))} />
      <span class="divider-line" aria-hidden="true"></span>
      <span class="divider-knob" aria-hidden="true"><svg class="icon"><use href="#i-compare" /></svg></span>
      <span class="divider-word before" aria-hidden="true">${t("compare.before")}</span>
      <span class="divider-word after" aria-hidden="true">${t("compare.after")}</span>
    </div>`;
}
