/** The whole queue: what is drawn, what waits, cancel, move, pause and drain. */

import { number, post, seconds, text } from "./owner_api.js";
import { Ago, Badge, Bar, Coming, Nothing, Panel, Press, Question, Sign, act, useData } from "./owner_parts.js";
import { html, useState } from "./preact.js";

const STATES = [["run", "play"], ["pause", "pause"], ["drain", "drain"]];

/** What the service does: run, pause or drain. */
export function StateButtons({ state, again }) {
  const set = (name) => act(() => post("queue/state", { state: name }), text(`state.${name}.done`), again);
  return html`<div class="states" role="group" aria-label=${text("state")}>
    ${STATES.map(([name, sign]) => html`<button key=${name} type="button" class="state" aria-pressed=${String(state === name)} data-state=${name} onClick=${() => state === name || set(name)}>
      <${Sign} name=${sign} /><span><b>${text(`state.${name}`)}</b><span class="quiet">${text(`state.${name}.what`)}</span></span></button>`)}
  </div>`;
}

const facts = (job) => [job.model, `${job.width}×${job.height}`, text("job.steps", { n: job.steps }), job.place || job.platform].join(" · ");

function Job({ line, position, children, stop }) {
  const { job } = line;
  return html`<li class="entry job-entry" data-job=${job.id}>
    <span class="entry-lead">${position}</span>
    <div class="entry-body">
      <p class="entry-title">${job.private ? html`<${Sign} name="lock" /> ${text("job.private")}` : job.prompt}</p>
      <p class="entry-facts quiet"><a href=${`#people/${job.person_id}`}>${job.asker || job.user_id}</a> · ${text("job.count", { n: job.count })} · ${facts(job)}${line.slots.map((slot) => ` · ${slot}`)} · <${Ago} at=${job.created_at} /></p>
      ${line.progress !== null && html`<${Bar} part=${line.progress} label=${text("job.progress", { job: job.id })} />`}
    </div>
    <div class="entry-side">${children}<${Press} sign="stop" bare danger label=${text("job.cancel", { job: job.id })} onClick=${stop} data-action="cancel" /></div>
  </li>`;
}

function Wait({ line }) {
  if (line.job.moved) return html`<${Badge} tone="accent">${text(`moved.${line.job.moved}`)}</${Badge}>`;
  if (line.high === null) return null;
  return html`<span class="quiet entry-wait">${text("job.ready", { time: seconds(line.high) })}</span>`;
}

export function Queue({ again: outer }) {
  const [data, again, away] = useData("queue", 3);
  const [ask, setAsk] = useState(null);
  const both = () => Promise.all([again(), outer()]);
  if (!data) return html`<${Coming} away=${away} />`;
  const cancel = (jobs) => act(() => post("queue/cancel", { jobs }), (answer) => text("queue.cancelled", { n: number(answer.cancelled) }), both);
  const move = (job, to) => act(() => post("queue/move", { job, to }), text(`queue.moved.${to}`), again);
  const all = () => setAsk({
    title: text("queue.cancel_all"),
    about: text("queue.cancel_all.about", { n: number(data.waiting.length) }),
    action: text("queue.cancel_all"),
    done: () => cancel(data.waiting.map(({ job }) => job.id)),
  });
  return html`
    <div class="panel state-panel"><${StateButtons} state=${data.state} again=${both} /></div>
    <${Panel} title=${text("queue.drawing", { n: number(data.drawing.length) })} id="drawing">
      ${data.drawing.length
        ? html`<ol class="entries">${data.drawing.map((line) => html`<${Job} key=${line.job.id} line=${line} position="" stop=${() => cancel([line.job.id])} />`)}</ol>`
        : html`<${Nothing} sign="pause">${text("queue.drawing.none")}</${Nothing}>`}
    </${Panel}>
    <${Panel} title=${text("queue.waiting", { n: number(data.waits) })} id="waiting" about=${data.held ? text("queue.held", { n: number(data.held) }) : undefined}
      side=${data.waiting.length > 1 && html`<${Press} sign="stop" danger label=${text("queue.cancel_all")} onClick=${all} data-action="cancel-all" />`}>
      ${data.waiting.length
        ? html`<ol class="entries">${data.waiting.map((line, index) => html`<${Job} key=${line.job.id} line=${line} position=${number(line.position ?? index + 1)} stop=${() => cancel([line.job.id])}>
            <${Wait} line=${line} />
            <${Press} sign="up" bare label=${text("job.front", { job: line.job.id })} onClick=${() => move(line.job.id, "front")} data-action="front" />
            <${Press} sign="down" bare label=${text("job.back", { job: line.job.id })} onClick=${() => move(line.job.id, "back")} data-action="back" />
          </${Job}>`)}</ol>`
        : html`<${Nothing}>${text("queue.waiting.none")}</${Nothing}>`}
      ${data.waits > data.waiting.length && html`<p class="quiet more-line">${text("more", { n: number(data.waits - data.waiting.length) })}</p>`}
    </${Panel}>
    <${Question} ask=${ask} close=${() => setAsk(null)} />`;
}
