/** The overview: the service's state, what needs an answer, and the last day. */

import { number, percent, seconds, text } from "./owner_api.js";
import { Charts } from "./owner_charts.js";
import { StateButtons } from "./owner_queue.js";
import { Coming, Sign } from "./owner_parts.js";
import { html } from "./preact.js";

function Tile({ label, value, about, href, tone = "" }) {
  const inside = html`<span class="tile-label">${label}</span><b class="tile-value">${value}</b>${about && html`<span class="tile-about quiet">${about}</span>`}`;
  return href ? html`<a class=${`tile-card ${tone}`} href=${href}>${inside}</a>` : html`<div class=${`tile-card ${tone}`}>${inside}</div>`;
}

/** What hinders drawing, or was stopped by an owner. */
export function Alerts({ overview }) {
  const found = overview.problems.map((problem) => ["bad", problem]);
  if (overview.state === "pause") found.push(["", text("state.pause.about")]);
  if (overview.state === "drain") found.push(["", text("state.drain.about")]);
  return found.map(([tone, sentence]) => html`<p key=${sentence} class=${`banner ${tone}`} role="status"><${Sign} name="alert" /> ${sentence}</p>`);
}

export function Home({ overview, again, away }) {
  if (!overview) return html`<${Coming} away=${away} />`;
  const { engine } = overview;
  const busy = engine.warm_seconds ? engine.busy_seconds / engine.warm_seconds : 0;
  const needs = overview.newcomers + overview.reports;
  return html`
    <div class="tiles-row">
      <${Tile} label=${text("tile.state")} value=${text(`state.${overview.state}`)} tone=${overview.state === "run" ? "good" : "warm"} href="#queue"
        about=${text("tile.state.about", { version: overview.version })} />
      <${Tile} label=${text("tile.queue")} value=${number(overview.waiting)} about=${text("tile.queue.about", { n: number(overview.drawing) })} href="#queue" />
      <${Tile} label=${text("tile.needs")} value=${number(needs)} tone=${needs ? "warm" : ""} href=${overview.newcomers || !overview.reports ? "#newcomers" : "#reports"}
        about=${text("tile.needs.about", { newcomers: number(overview.newcomers), reports: number(overview.reports) })} />
      <${Tile} label=${text("tile.engine")} value=${text(`phase.${engine.phase}`)} tone=${["warm", "idle"].includes(engine.phase) ? "good" : engine.phase === "broken" ? "bad" : "warm"} href="#device"
        about=${[engine.model, engine.device].filter(Boolean).join(" · ")} />
      <${Tile} label=${text("tile.busy")} value=${percent(Math.min(busy, 1))} about=${text("tile.busy.about", { time: seconds(engine.warm_seconds) })} href="#device" />
    </div>
    <div class="panel state-panel"><${StateButtons} state=${overview.state} again=${again} /></div>
    <${Charts} />`;
}
