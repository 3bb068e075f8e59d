/** Quotas: the table of rules, setting and removing them, and why somebody may ask for so much. */

import { ago, number, percent, post, text } from "./owner_api.js";
import { Badge, Bar, Choose, Coming, Field, Line, Nothing, Panel, Press, Question, Sheet, act, useData } from "./owner_parts.js";
import { html, useState } from "./preact.js";

const PLATFORMS = ["discord", "telegram", "web"];
const SCOPES = ["everybody", "platform", "place", "person", "role", "channel"];

function whom({ scope, place, person }) {
  const parts = [];
  if (scope.person) parts.push(person || scope.person);
  if (scope.role) parts.push(text("rule.role", { id: scope.role }));
  if (scope.channel) parts.push(text("rule.channel", { id: scope.channel }));
  if (scope.place) parts.push(place || scope.place);
  if (scope.platform) parts.push(scope.platform);
  return parts.join(" · ") || text("rule.everybody");
}

export function Quotas() {
  const [data, again, away] = useData("quotas", 15);
  const [open, setOpen] = useState(false);
  const [ask, setAsk] = useState(null);
  if (!data) return html`<${Coming} away=${away} />`;
  const scoped = ({ scope }) => Object.fromEntries(Object.entries(scope).filter(([, value]) => value));
  const remove = (rule) => setAsk({
    title: text("rule.remove"),
    about: text("rule.remove.about", { rule: rule.words, whom: whom(rule) }),
    action: text("rule.remove"),
    done: () => act(() => post("quotas/remove", { ...scoped(rule), by_owner: rule.by_owner }), text("rule.removed"), again),
  });
  return html`
    <${Panel} title=${text("rules")} about=${text("rules.about")} side=${html`<${Press} sign="plus" strong label=${text("rule.add")} onClick=${() => setOpen(true)} data-action="rule" />`}>
      <div class="scroll" tabindex="0" role="group" aria-label=${text("rules")}><table class="list">
        <thead><tr><th scope="col">${text("rule.whom")}</th><th scope="col">${text("rule.what")}</th><th scope="col">${text("rule.by")}</th><th scope="col"><span class="unseen">${text("rule.remove")}</span></th></tr></thead>
        <tbody>
          <tr><th scope="row">${text("rule.everybody")}</th><td>${data.usual}</td><td><${Badge}>EASEL_QUOTA</${Badge}></td><td></td></tr>
          ${data.rules.map((rule) => html`<tr key=${`${whom(rule)}${rule.by_owner}`}>
            <th scope="row">${whom(rule)}</th><td>${rule.words}<span class="cell-about quiet"><code>${rule.typed}</code></span></td>
            <td><${Badge} tone=${rule.by_owner ? "accent" : ""}>${text(rule.by_owner ? "rule.owner" : "rule.place")}</${Badge}></td>
            <td class="figure"><${Press} sign="bin" bare danger label=${text("rule.remove_of", { whom: whom(rule) })} onClick=${() => remove(rule)} data-action="remove" /></td></tr>`)}
        </tbody>
      </table></div>
    </${Panel}>
    <${Asked} places=${data.places} />
    ${open && html`<${NewRule} places=${data.places} close=${() => setOpen(false)} again=${again} />`}
    <${Question} ask=${ask} close=${() => setAsk(null)} />`;
}

function Where({ places, platform, value, onChange, label }) {
  const here = places.filter((one) => one.platform === platform);
  return html`<${Field} label=${label}>${(id) => here.length
    ? html`<${Choose} id=${id} value=${value} onChange=${onChange} options=${[["", text("place.none")], ...here.map((one) => [one.guild, one.name || one.guild])]} />`
    : html`<${Line} id=${id} value=${value} onInput=${onChange} maxlength="200" />`}</${Field}>`;
}

function NewRule({ places, close, again }) {
  const [kind, setKind] = useState("everybody");
  const [platform, setPlatform] = useState("discord");
  const [place, setPlace] = useState("");
  const [id, setId] = useState("");
  const [rule, setRule] = useState("20/day at-once 2");
  const inPlace = ["place", "role", "channel"].includes(kind);
  const done = () => {
    const scope = kind === "everybody" ? {} : { platform };
    if (inPlace) scope.place = place;
    if (["person", "role", "channel"].includes(kind)) scope[kind] = id.trim();
    return act(() => post("quotas/set", { ...scope, rule: rule.trim() }), text("rule.set"), again);
  };
  return html`<${Sheet} title=${text("rule.add")} action=${text("rule.add")} close=${close} done=${done}>
    <${Field} label=${text("rule.whom")}>${(field) => html`<${Choose} id=${field} value=${kind} onChange=${setKind} options=${SCOPES.map((name) => [name, text(`scope.${name}`)])} />`}</${Field}>
    ${kind !== "everybody" && html`<${Field} label=${text("person.platform")}>${(field) => html`<${Choose} id=${field} value=${platform} onChange=${setPlatform} options=${PLATFORMS.map((name) => [name, name])} />`}</${Field}>`}
    ${inPlace && html`<${Where} places=${places} platform=${platform} value=${place} onChange=${setPlace} label=${text("scope.place")} />`}
    ${["person", "role", "channel"].includes(kind) && html`<${Field} label=${text(`rule.id.${kind}`)}>${(field) => html`<${Line} id=${field} value=${id} onInput=${setId} required maxlength="200" />`}</${Field}>`}
    <${Field} label=${text("rule.what")} about=${text("rule.what.about")}>${(field) => html`<${Line} id=${field} value=${rule} onInput=${setRule} required maxlength="500" data-field="rule" />`}</${Field}>
  </${Sheet}>`;
}

// Whom to explain the rules of.
function Asked({ places }) {
  const [platform, setPlatform] = useState("discord");
  const [person, setPerson] = useState("");
  const [place, setPlace] = useState("");
  const [asked, setAsked] = useState(null);
  const submit = (event) => {
    event.preventDefault();
    if (person.trim()) setAsked({ platform, person: person.trim(), place });
  };
  return html`<${Panel} title=${text("why")} about=${text("why.about")} id="why">
    <form class="inline-form" onSubmit=${submit}>
      <${Field} label=${text("person.platform")}>${(id) => html`<${Choose} id=${id} value=${platform} onChange=${setPlatform} options=${PLATFORMS.map((name) => [name, name])} />`}</${Field}>
      <${Field} label=${text("rule.id.person")}>${(id) => html`<${Line} id=${id} value=${person} onInput=${setPerson} maxlength="200" data-field="why-person" />`}</${Field}>
      <${Where} places=${places} platform=${platform} value=${place} onChange=${setPlace} label=${text("scope.place")} />
      <button type="submit" class="plain" data-action="why">${text("why.ask")}</button>
    </form>
    ${asked && html`<${Why} ...${asked} />`}
  </${Panel}>`;
}

/** Which rule binds somebody, and what is used of it. */
export function Why({ platform, person, place = "", after }) {
  const [data, , away] = useData(`quotas/why?${new URLSearchParams({ platform, user_id: person, guild: place })}`, 15, after);
  if (!data) return html`<${Coming} away=${away} />`;
  return html`<div class="why">
    <p class="why-left">${data.left === null ? text("why.unlimited") : text("why.left", { n: number(data.left) })}${data.credits > 0 && html` <${Badge} tone="accent">${text("why.credits", { n: number(data.credits) })}</${Badge}>`}
      ${data.at_once !== null && html` <${Badge}>${text("why.at_once", { n: number(data.waiting), most: number(data.at_once) })}</${Badge}>`}</p>
    ${data.limits.map((limit) => html`<div key=${limit.words + limit.by_owner} class="limit">
      <p><b>${limit.words}</b> <span class="quiet">${text(limit.by_owner ? "rule.owner" : "rule.place")}</span><span class="limit-used">${text("why.used", { used: limit.used })}${limit.share !== null && ` · ${percent(limit.share)}`}</span></p>
      ${limit.share !== null && html`<${Bar} part=${limit.share} label=${limit.words} />`}
      ${limit.returns_at !== null && html`<p class="quiet small">${text("why.returns", { time: ago(limit.returns_at) })}</p>`}
    </div>`)}
    ${!data.limits.length && !data.reasons.length && html`<${Nothing}>${text("why.unlimited")}</${Nothing}>`}
    <ul class="reasons">${data.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul>
  </div>`;
}
