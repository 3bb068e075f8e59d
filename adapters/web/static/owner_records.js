/** Reports of pictures with their answers, and the audit log with undo. */

import { get, named, number, post, text } from "./owner_api.js";
import { Ago, Badge, Choose, Coming, Field, Nothing, Panel, Press, Question, act, complain, useData } from "./owner_parts.js";
import { html, useState } from "./preact.js";

function Shown({ line }) {
  const { report, pictures } = line;
  if (!pictures.length) return html`<p class="quiet">${text("report.gone")}</p>`;
  return html`<ul class="reported">${pictures.map((index) => html`<li key=${index}><details class="covered">
    <summary>${text("report.look", { n: number(index + 1) })}</summary>
    <img src=${`/api/owner/reports/${report.id}/${index}.png`} alt=${text("report.picture", { n: number(index + 1), job: report.job_id })} loading="lazy" />
  </details></li>`)}</ul>`;
}

export function Reports({ again: outer }) {
  const [data, again, away] = useData("reports", 10);
  if (!data) return html`<${Coming} away=${away} />`;
  const both = () => Promise.all([again(), outer()]);
  const answer = (report, hide) => act(() => post("reports/answer", { number: report.id, hide }), text(hide ? "report.hidden" : "report.dismissed"), both);
  return html`<${Panel} sole title=${text("reports")} about=${text("reports.about")}>
    ${!data.reports.length && html`<${Nothing}>${text("reports.none")}</${Nothing}>`}
    <ul class="entries">${data.reports.map((line) => {
      const { report, job } = line;
      return html`<li key=${report.id} class=${report.answer ? "entry done" : "entry"} data-report=${report.id}>
        <div class="entry-body">
          <p class="entry-title">${job?.private ? text("job.private") : job?.prompt ?? text("report.gone")}
            ${report.answer && html` <${Badge} tone=${report.answer === "hidden" ? "bad" : ""}>${text(`report.${report.answer}`)}</${Badge}>`}</p>
          <p class="quiet entry-facts">${text("report.by", { who: report.reporter || report.user_id })}${job && html` · <a href=${`#people/${job.person_id}`}>${text("report.of", { who: job.asker || job.user_id })}</a>`}${job?.place && ` · ${job.place}`} · <${Ago} at=${report.at} /></p>
          <${Shown} line=${line} />
        </div>
        ${!report.answer && html`<div class="entry-side">
          <${Press} danger label=${text("report.hide")} onClick=${() => answer(report, true)} data-action="hide" />
          <${Press} label=${text("report.dismiss")} onClick=${() => answer(report, false)} data-action="dismiss" /></div>`}
      </li>`;
    })}</ul>
  </${Panel}>
  <${Words} level=${data.strictness ?? ""} again=${again} />`;
}

const LEVELS = ["", "off", "warn", "refuse", "spoiler"];

// What happens to words for adults, and to pictures that the classifier finds unsafe.
function Words({ level, again }) {
  const set = (wanted) => act(() => post("reports/strictness", { level: wanted }), text("words.set"), again);
  return html`<${Panel} title=${text("words")} about=${text("words.about")}>
    <div class="inline-form"><${Field} label=${text("words.level")}>${(id) => html`<${Choose} id=${id} value=${level} onChange=${set} options=${LEVELS.map((one) => [one, text(`words.${one || "usual"}`)])} data-field="words" />`}</${Field}></div>
  </${Panel}>`;
}

export function Audit() {
  const [data, again, away] = useData("audit", 15);
  const [older, setOlder] = useState({ changes: [], older: null });
  const [ask, setAsk] = useState(null);
  if (!data) return html`<${Coming} away=${away} />`;
  const first = new Set(data.changes.map((change) => change.number));
  const changes = [...data.changes, ...older.changes.filter((change) => !first.has(change.number))];
  const more = older.older ?? data.older;
  const load = () => get(`audit?before=${changes.at(-1).number}`).then((page) => setOlder({ changes: [...older.changes, ...page.changes], older: page.older }), complain);
  const refresh = async () => {
    setOlder({ changes: [], older: null });
    await again();
  };
  const undo = (change) => setAsk({
    title: text("audit.undo"),
    about: text("audit.undo.about", { n: change.number, before: change.before, after: change.after }),
    action: text("audit.undo"),
    danger: false,
    done: () => act(() => post("audit/undo", { number: change.number }), text("audit.undone.done", { n: change.number }), refresh),
  });
  return html`<${Panel} sole title=${text("audit")} about=${text("audit.about")}>
    ${!changes.length && html`<${Nothing}>${text("audit.none")}</${Nothing}>`}
    <ol class="entries audit">${changes.map((change) => html`<li key=${change.number} class=${change.undone ? "entry done" : "entry"} data-change=${change.number}>
      <span class="entry-lead">#${change.number}</span>
      <div class="entry-body">
        <p class="entry-title">${named("action", change.action)}${change.whom && html` <span class="quiet">·</span> ${change.whom}`}${change.undone && html` <${Badge}>${text("audit.undone")}</${Badge}>`}</p>
        <p class="entry-change"><span>${change.before}</span> <span aria-hidden="true">→</span><span class="unseen">${text("audit.to")}</span> <span>${change.after}</span></p>
        <p class="quiet entry-facts">${change.who}${change.place && ` · ${change.place}`} · <${Ago} at=${change.at} /></p>
      </div>
      ${change.undoable && html`<div class="entry-side"><${Press} sign="undo" label=${text("audit.undo")} aria-label=${text("audit.undo_of", { n: change.number })} onClick=${() => undo(change)} data-action="undo" /></div>`}
    </li>`)}</ol>
    ${more && html`<p class="more-line"><${Press} label=${text("audit.older")} onClick=${load} data-action="older" /></p>`}
    <${Question} ask=${ask} close=${() => setAsk(null)} />
  </${Panel}>`;
}
