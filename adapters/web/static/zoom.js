/** Zoom and pan of a box in the middle of a stage: wheel, pinch, drag and double tap; swipes while nothing is zoomed. */

const MOST = 12;
const STEP = 1.5;
const TAPPED = 3;
const TAP_MS = 300;
const TAP_PX = 24;
const SWIPE_PX = 56;
const STILL_PX = 6;
const WHEEL = 0.0018;
const PINCH = 0.012;

export class Zoom {
  /** 1 while the whole box is seen. */
  scale = 1;

  x = 0;
  y = 0;

  #pointers = new Map();
  #start = null;
  #touched = false;
  #tap = { at: 0, x: 0, y: 0 };
  #stage;
  #box;
  #on;

  /**
   * @param {HTMLElement} stage what is touched
   * @param {HTMLElement} box what moves, centred in the stage
   * @param {{changed?: (zoom: Zoom) => void, swiped?: (by: number) => void, tapped?: (target: Element) => void,
   *   drawn?: (phase: "down" | "move" | "up" | "cancel", event: PointerEvent) => boolean}} on what hears of it; `drawn` takes the first
   *   pointer for itself where it answers true
   */
  constructor(stage, box, on = {}) {
    this.#stage = stage;
    this.#box = box;
    this.#on = on;
    const listen = (name, listener, options) => stage.addEventListener(name, listener, options);
    listen("wheel", (event) => this.#wheel(event), { passive: false });
    listen("pointerdown", (event) => this.#down(event));
    listen("pointermove", (event) => this.#move(event));
    // The system knows the time of a double click; for fingers and pens see #tapped.
    listen("dblclick", (event) => this.#touched || event.target.closest("button, input, a") || this.#toggle(...this.#at(event)));
    for (const name of ["pointerup", "pointercancel"]) listen(name, (event) => this.#up(event));
  }

  /** Show the whole box. */
  reset() {
    [this.scale, this.x, this.y] = [1, 0, 0];
    this.#apply();
  }

  /** Zoom by steps, into the middle. */
  step(by) {
    this.to(this.scale * STEP ** by, 0, 0);
  }

  /** Zoom to a scale around a point, from the stage's middle. */
  to(scale, x = 0, y = 0) {
    const next = Math.min(Math.max(scale, 1), MOST);
    this.x = x - ((x - this.x) / this.scale) * next;
    this.y = y - ((y - this.y) / this.scale) * next;
    this.scale = next;
    this.#apply();
  }

  /** Move what is seen, in pixels. */
  pan(x, y) {
    this.x += x;
    this.y += y;
    this.#apply();
  }

  #apply(shift = 0) {
    const { offsetWidth: width, offsetHeight: height } = this.#box;
    const across = Math.max(0, (width * this.scale - this.#stage.clientWidth) / 2);
    const down = Math.max(0, (height * this.scale - this.#stage.clientHeight) / 2);
    this.x = Math.min(Math.max(this.x, -across), across);
    this.y = Math.min(Math.max(this.y, -down), down);
    this.#box.style.transform = this.scale === 1 && !shift ? "" : `translate(${this.x + shift}px, ${this.y}px) scale(${this.scale})`;
    this.#on.changed?.(this);
  }

  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    return [clientX - left - width / 2, clientY - top - height / 2];
  }

  #wheel(event) {
    if (event.target.closest("button, input, a")) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.to(this.scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? PINCH : WHEEL)), ...this.#at(event));
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button, input, a")) return;
    this.#touched = event.pointerType !== "mouse";
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
    const draws = this.#pointers.size === 1 && this.#on.drawn?.("down", event) === true;
    if (this.#pointers.size > 1 && this.#start?.draws) this.#on.drawn("cancel", event);
    // While a pointer is captured, the stage is its target.
    this.#begin(draws, this.#pointers.size > 1 || this.#start?.pinched, event.target);
    // A press would drag the picture itself.
    event.preventDefault();
    this.#stage.closest("dialog")?.focus({ preventScroll: true });
  }

  #begin(draws, pinched = false, target = null) {
    const [one, other] = this.#pointers.values();
    this.#start = { draws, pinched, target, scale: this.scale, x: this.x, y: this.y, one: this.#at(one), apart: other && distance(one, other), moved: 0 };
  }

  #move(event) {
    if (!this.#pointers.has(event.pointerId)) {
      this.#on.drawn?.("hover", event);
      return;
    }
    this.#pointers.set(event.pointerId, event);
    const [one, other] = this.#pointers.values();
    const start = this.#start;
    if (start.draws) {
      this.#on.drawn("move", event);
      return;
    }
    const [x, y] = this.#at(one);
    const [dx, dy] = [x - start.one[0], y - start.one[1]];
    start.moved = Math.max(start.moved, Math.hypot(dx, dy));
    if (other) {
      const [ox, oy] = this.#at(other);
      this.to((start.scale * distance(one, other)) / start.apart, (x + ox) / 2, (y + oy) / 2);
    } else if (this.scale > 1) {
      [this.x, this.y] = [start.x + dx, start.y + dy];
      this.#apply();
    } else if (this.#on.swiped && !start.pinched && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.#apply(dx);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const start = this.#start;
    if (this.#pointers.size) return this.#begin(false, true);
    this.#start = null;
    if (start.draws) return void this.#on.drawn(event.type === "pointerup" ? "up" : "cancel", event);
    const [dx, dy] = [this.#at(event)[0] - start.one[0], this.#at(event)[1] - start.one[1]];
    if (this.scale === 1) this.#apply();
    if (event.type !== "pointerup" || start.pinched) return;
    if (start.moved < STILL_PX) this.#tapped(event, start.target);
    else if (this.scale === 1 && start.scale === 1 && Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 1.5 * Math.abs(dy)) this.#on.swiped?.(dx < 0 ? 1 : -1);
  }

  #tapped(event, target) {
    const [x, y] = this.#at(event);
    const again = this.#touched && event.timeStamp - this.#tap.at < TAP_MS && Math.hypot(x - this.#tap.x, y - this.#tap.y) < TAP_PX;
    this.#tap = { at: again ? 0 : event.timeStamp, x, y };
    if (!again) this.#on.tapped?.(target);
    else this.#toggle(x, y);
  }

  #toggle(x, y) {
    if (this.scale > 1) this.reset();
    else this.to(TAPPED, x, y);
  }
}

function distance(one, other) {
  return Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
}
