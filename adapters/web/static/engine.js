/** What the engine is doing, in words at the top of the page; notices when the service is away and when it is back. */

import { Away, info } from "./api.js";
import { t } from "./texts.js";

const WARM_MS = 20000;
const COLD_MS = 1500;
const GIGA = 1e9;

export class EngineState {
  /** @param {() => void} onBack the service answers again after it was away */
  constructor(onBack) {
    this.onBack = onBack;
    this.away = false;
    this.timer = 0;
    this.line = document.getElementById("engine");
    this.text = document.getElementById("engine-text");
    this.banner = document.getElementById("engine-banner");
    this.bannerText = document.getElementById("engine-banner-text");
    this.bannerMore = document.getElementById("engine-banner-more");
    this.bar = document.getElementById("engine-bar");
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  /** Show what /api/info said, and look again in a while. */
  show({ engine, model }) {
    const warm = engine.phase === "warm" || engine.phase === "idle"; // idle: it loads by itself when asked
    this.line.dataset.phase = engine.phase;
    const where = engine.device ? t("engine.where", { model: model.title, device: engine.device }) : model.title;
    say(this.text, where);
    this.banner.hidden = warm;
    if (!warm) {
      say(this.bannerText, engine.text);
      say(this.bannerMore, engine.problem || (engine.phase === "broken" ? "" : t("engine.wait")));
      this.#showBytes(engine);
    }
    this.#later(warm ? WARM_MS : COLD_MS);
  }

  /** Ask now (after a request got no answer, say). */
  async look() {
    clearTimeout(this.timer);
    try {
      const found = await info();
      const back = this.away;
      this.away = false;
      this.show(found);
      if (back) this.onBack();
    } catch (error) {
      if (error instanceof Away) this.#showAway();
      this.#later(COLD_MS);
    }
  }

  #showAway() {
    this.away = true;
    this.line.dataset.phase = "away";
    this.banner.hidden = false;
    this.bar.hidden = true;
    say(this.bannerText, t("away"));
    say(this.bannerMore, "");
  }

  #showBytes({ phase, bytes_done: done, bytes_total: total }) {
    this.bar.hidden = !(phase === "downloading" && total > 0);
    if (this.bar.hidden) return;
    say(this.bannerMore, t("engine.bytes", { done: (done / GIGA).toFixed(1), total: (total / GIGA).toFixed(1) }));
    showProgress(this.bar, done / total);
  }

  #later(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (document.hidden ? this.#later(milliseconds) : this.look()), milliseconds);
  }
}

/** Set a bar (role=progressbar) to 0..1. */
export function showProgress(bar, part) {
  const percent = Math.round(100 * Math.min(Math.max(part, 0), 1));
  bar.setAttribute("aria-valuenow", String(percent));
  bar.style.setProperty("--part", String(percent / 100));
}

// A live region that is written again is read out again, even if it says the same.
function say(element, sentence) {
  if (element.textContent !== sentence) element.textContent = sentence;
}
