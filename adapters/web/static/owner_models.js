/** Models and LoRAs: what is installed, downloads, removal, and who may use what. */

import { bytes, number, percent, post, text } from "./owner_api.js";
import { Badge, Bar, Coming, Field, Line, Nothing, Panel, Press, Question, act, useData } from "./owner_parts.js";
import { html, useState } from "./preact.js";

const TONES = { here: "good", bundled: "good", local: "good", part: "warm", absent: "" };

function Pull({ pull, again }) {
  const share = pull.total ? pull.done / pull.total : null;
  if (!pull.running) {
    const said = pull.problem || (pull.stopped ? text("pull.stopped", { name: pull.name }) : text("pull.done", { name: pull.name, size: bytes(pull.fetched) }));
    return html`<p class=${pull.problem ? "error" : "error notice"} role="status">${said}${!pull.problem && !pull.stopped && html`<br />${text("pull.next", { name: pull.name })}`}</p>`;
  }
  const stop = () => act(() => post("models/stop", {}), text("pull.stopping"), again);
  return html`<div class="pull">
    <p><b>${pull.name}</b> <span class="quiet">${share === null ? text("pull.asking") : text("pull.size", { done: bytes(pull.done), total: bytes(pull.total) })}</span></p>
    <${Bar} part=${share} label=${text("pull.progress", { name: pull.name })} />
    <p class="pull-foot"><span class="quiet">${share === null ? "" : percent(share)}</span><${Press} sign="stop" label=${text("pull.stop")} onClick=${stop} data-action="stop-pull" /></p>
  </div>`;
}

function who(served) {
  const usual = served.who.map((one) => (one === "everyone" ? text("who.everyone") : one === "admins" ? text("who.admins") : text("who.role", { id: one }))).join(", ");
  const narrowed = Object.entries(served.narrowed);
  return html`${usual}${narrowed.map(([place, allowed]) => html`<span class="cell-about quiet" key=${place}>${place}: ${allowed.join(", ")}</span>`)}`;
}

function Served({ title, models, about, none }) {
  return html`<${Panel} title=${title} about=${about}>
    ${models.length ? html`<div class="scroll" tabindex="0" role="group" aria-label=${title}><table class="list">
      <thead><tr><th scope="col">${text("model.name")}</th><th scope="col">${text("model.family")}</th><th scope="col">${text("model.who")}</th></tr></thead>
      <tbody>${models.map((one) => html`<tr key=${one.name}><th scope="row">${one.title}<span class="cell-about quiet"><code>${one.name}</code></span></th><td>${one.family || "–"}</td><td>${who(one)}</td></tr>`)}</tbody>
    </table></div>` : html`<${Nothing} sign="models">${none}</${Nothing}>`}
  </${Panel}>`;
}

export function Models() {
  const [data, again, away] = useData("models", 3);
  const [name, setName] = useState("");
  const [ask, setAsk] = useState(null);
  if (!data) return html`<${Coming} away=${away} />`;
  const { library } = data;
  const busy = Boolean(library.pull?.running);
  const pull = (wanted) => act(() => post("models/pull", { name: wanted }), text("pull.begun", { name: wanted }), again);
  const submit = async (event) => {
    event.preventDefault();
    if (name.trim() && (await pull(name.trim()))) setName("");
  };
  const remove = (model) => setAsk({
    title: text("model.remove"),
    about: text("model.remove.about", { name: model.title || model.name, size: bytes(model.bytes) }),
    action: text("model.remove"),
    done: () => act(() => post("models/remove", { name: model.name }), (answer) => text("model.removed", { size: bytes(answer.freed) }), again),
  });
  const order = [...library.models].sort((one, other) => (other.bytes > 0) - (one.bytes > 0));
  const row = (model) => html`<tr key=${model.name} data-model=${model.name}>
    <th scope="row">${model.title || model.name}<span class="cell-about quiet"><code>${model.name}</code>${model.source && model.source !== model.name && ` · ${model.source}`}</span></th>
    <td><${Badge} tone=${TONES[model.state]}>${text(`model.${model.state}`)}</${Badge}>${model.commit && html`<span class="cell-about quiet"><code>${model.commit}</code></span>`}</td>
    <td class="figure">${model.bytes ? bytes(model.bytes) : "–"}</td>
    <td>${model.licence || "–"}${model.terms.map((term) => html`<span class="cell-about quiet" key=${term}>${term}</span>`)}</td>
    <td class="figure row-acts">${["absent", "part", "here"].includes(model.state) && model.title && html`<${Press} sign="download" bare label=${text(model.state === "here" ? "model.update" : "model.pull", { name: model.title })} aria-disabled=${busy ? "true" : undefined}
        onClick=${() => busy || pull(model.name)} data-action="pull" />`}
      ${model.removable && html`<${Press} sign="bin" bare danger label=${text("model.remove_of", { name: model.title || model.name })} onClick=${() => remove(model)} data-action="remove" />`}</td>
  </tr>`;
  return html`
    <${Panel} title=${text("library")} about=${library.folder ? text("library.about", { folder: library.folder }) : text("library.none")}>
      ${library.problems.map((problem) => html`<p key=${problem} class="error">${problem}</p>`)}
      ${library.pull && html`<${Pull} pull=${library.pull} again=${again} />`}
      <form class="inline-form" onSubmit=${submit}>
        <${Field} label=${text("pull.name")} about=${text("pull.name.about")}>${(id) => html`<${Line} id=${id} value=${name} onInput=${setName} maxlength="200" data-field="pull" />`}</${Field}>
        <button type="submit" class="plain" aria-disabled=${busy ? "true" : undefined}>${text("pull")}</button>
      </form>
      ${order.length > 0 && html`<div class="scroll" tabindex="0" role="group" aria-label=${text("library")}><table class="list">
        <thead><tr><th scope="col">${text("model.name")}</th><th scope="col">${text("model.state")}</th><th scope="col" class="figure">${text("model.size")}</th><th scope="col">${text("model.licence")}</th>
          <th scope="col"><span class="unseen">${text("model.acts")}</span></th></tr></thead>
        <tbody>${order.map(row)}</tbody></table></div>`}
    </${Panel}>
    <${Served} title=${text("served", { n: number(data.served.length) })} models=${data.served} about=${text("served.about")} none="" />
    <${Served} title=${text("loras", { n: number(data.loras.length) })} models=${data.loras} about=${text("loras.about")} none=${text("loras.none")} />
    <${Question} ask=${ask} close=${() => setAsk(null)} />`;
}
