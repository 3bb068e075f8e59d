/** The viewer's panel: the prompt of a picture, its actions, its lineage and its facts. */

import { Refused } from "./api.js";
import { Action, Copy, Icon } from "./parts.js";
import { html, useEffect, useState } from "./preact.js";
import { buttonsOf } from "./row.js";
import { store, useStore } from "./store.js";
import { t } from "./texts.js";

/** Most of the jobs made from a picture that are shown. */
const MADE = 12;

/** A small picture that leads to another job. */
function Relative({ job, index, thumb, spoiler, label, go }) {
  return html`<button type="button" class=${spoiler ? "relative covered" : "relative"} title=${label} aria-label=${label} data-relative=${`${job}/${index}`} onClick=${() => go({ job, index })}>
    ${thumb && html`<img alt="" src=${thumb} width="64" height="64" decoding="async" />`}
  </button>`;
}

/** What a picture was made from, and what was made from it. */
function Lineage({ card, picture, parentCard, go, uncovered }) {
  const { parent, kind } = card;
  const children = useStore("list", (store) =>
    store.list().filter((one) => one.parent?.job_id === card.job_id && one.parent.index === picture.index && one.pictures.length).slice(0, MADE),
  );
  if (!parent && !children.length) return null;
  const origin = parentCard?.pictures.find(({ index }) => index === parent?.index);
  const covered = parent && (!parentCard || (origin?.spoiler && !uncovered.has(origin.url)));
  const from = parent && (t(`lineage.${kind}`, { job: parent.job_id }) || t("lineage.draw", { job: parent.job_id }));
  return html`
    <section class="lineage" aria-label=${t("lineage")}>
      ${parent && html`<div class="lineage-line"><${Relative} job=${parent.job_id} index=${parent.index} thumb=${parent.thumb ?? origin?.url} spoiler=${covered} label=${from} go=${go} /><p>${from}</p></div>`}
      ${children.length > 0 && html`<h3>${t("lineage.made")}</h3>
        <div class="lineage-made">${children.map(({ job_id: job, pictures: [first], prompt }) => html`<${Relative} key=${job} job=${job} index=${first.index} thumb=${first.thumb ?? first.url}
          spoiler=${first.spoiler && !uncovered.has(first.url)} label=${t("lineage.child", { job, prompt })} go=${go} />`)}</div>`}
    </section>`;
}

/** All that is known of a picture, fetched when it is unfolded. */
function Facts({ card, picture }) {
  const [found, setFound] = useState(null);
  const [refused, setRefused] = useState("");
  useEffect(() => {
    setFound(null);
    setRefused("");
  }, [picture.url]);
  const button = card.buttons.flat().find(({ action, index }) => action === "info" && (index === picture.index || index === null));
  const unfold = async (event) => {
    if (!event.currentTarget.open || found || !button) return;
    setRefused("");
    try {
      setFound((await store.press(button.id)).card);
    } catch (error) {
      store.failed(error);
      setRefused(error instanceof Refused ? error.text : t("error.away"));
    }
  };
  const list = (facts) => html`<dl class="facts">${facts.map(({ label, value }) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;
  const named = new Set(card.facts.map(({ label }) => label));
  const more = found?.facts.filter(({ label }) => !named.has(label)) ?? [];
  return html`
    ${list(card.facts.filter(({ label }) => label !== t("seed")))}
    ${card.notes.length > 0 && html`<ul class="facts-notes">${card.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
    ${button && html`<details class="more-facts" key=${picture.url} onToggle=${unfold}><summary>${t("viewer.all_facts")}</summary>
      ${refused && html`<p class="error" role="alert">${refused}</p>`}
      ${found && list(more)}
      ${found?.prompt && html`<pre class="line-of">${found.prompt}</pre><${Copy} text=${found.prompt} label=${t("viewer.copy_line")} said=${t("viewer.line_copied")} />`}
    </details>`}`;
}

/** What can be done with a picture, in groups. */
function Actions({ card, picture, act }) {
  const reroll = card.buttons.flat().find(({ action }) => action === "reroll");
  const { models } = store.about;
  const [starts, masks] = ["image", "mask"].map((can) => models.some((model) => model.can.includes(can)));
  const refers = models.some((model) => model.can.includes("edit"));
  const { length } = card.pictures;
  const group = (label, ...buttons) => html`<div class="acts" role="group" aria-label=${label}>${buttons}</div>`;
  const one = (name, icon, label, rest = {}) => html`<${Action} key=${name} icon=${icon} label=${label} data-act=${name} onClick=${() => act(name)} ...${rest} />`;
  return html`
    ${group(
      t("viewer.make"),
      buttonsOf(card, picture.index).map(({ action, icon, label }) => one(action, icon, label)),
      reroll && one("reroll", "reroll", reroll.label),
    )}
    ${group(
      t("viewer.work"),
      one("edit", "pencil", t("edit_this")),
      masks && one("mask", "brush", t("change_part")),
      starts && one("start", "image", t("start_from")),
      refers && one("reference", "plus", t("as_reference")),
    )}
    ${card.recipe && group(
      t("viewer.reuse"),
      one("reuse", "copy", t("reuse.all")),
      one("prompt", "pencil", t("reuse.prompt")),
      one("remix", "reroll", t("reuse.remix")),
    )}
    ${group(
      t("viewer.keep"),
      picture.seed !== null && html`<${Copy} key="seed" text=${picture.seed} label=${t("copy_seed")} said=${t("copied", { seed: picture.seed })} />`,
      html`<a key="download" class="plain" href=${picture.download} download data-act="download"><${Icon} name="download" /><span>${t("download")}</span></a>`,
      one("delete", "bin", t(length > 1 ? "viewer.delete" : "viewer.delete.one", { n: length }), { danger: true }),
    )}`;
}

/** `uncovered`: addresses of covered pictures that may be seen; `act(name)` does something with the picture, `go({job, index})` shows another. */
export function Panel({ card, picture, position, parentCard, act, go, said, uncovered }) {
  const count = card.pictures.length;
  const date = card.created_at && new Date(card.created_at).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  return html`
    <aside id="viewer-panel" class="panel" aria-label=${t("viewer.about")}>
      <p class="panel-top">${[t("job.number", { job: card.job_id }), count > 1 && t("viewer.position", { index: position + 1, count }), picture.seed !== null && t("viewer.seed", { seed: picture.seed }), date].filter(Boolean).join(" · ")}</p>
      <h2 id="viewer-caption" class="panel-prompt">${card.prompt}</h2>
      ${said && html`<p class=${said.isError ? "error" : "error notice"}>${said.sentence}</p>`}
      <${Actions} card=${card} picture=${picture} act=${act} />
      <${Lineage} ...${{ card, picture, parentCard, go, uncovered }} />
      <${Facts} card=${card} picture=${picture} />
    </aside>`;
}
