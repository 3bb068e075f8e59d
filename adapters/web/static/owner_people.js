/** People: search, what they use, bans and credits; and newcomers who wait for an answer. */

import { newKey } from "./api.js";
import { bytes, moment, number, post, text } from "./owner_api.js";
import { Ago, Badge, Choose, Coming, Field, Line, Nothing, Panel, Press, Sheet, Sign, act, useData } from "./owner_parts.js";
import { Why } from "./owner_quotas.js";
import { html, useEffect, useState } from "./preact.js";

const TYPING_MS = 250;

// What is typed, a moment after the last key.
function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), TYPING_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function Found({ person }) {
  return html`<tr data-person=${person.id}>
    <th scope="row"><a href=${`#people/${person.id}`}>${person.name || person.user_id}</a>${person.banned && html` <${Badge} tone="bad">${text("person.banned")}</${Badge}>`}
      <span class="cell-about quiet">${person.handle ? `@${person.handle}` : person.user_id}</span></th>
    <td>${person.platform}</td>
    <td class="figure">${number(person.day)}</td>
    <td class="figure">${number(person.month)}</td>
    <td class="quiet">${person.last_at ? html`<${Ago} at=${person.last_at} />` : "–"}</td>
  </tr>`;
}

export function People({ id }) {
  const [typed, setTyped] = useState("");
  const [banned, setBanned] = useState(false);
  const query = useSettled(typed);
  if (id) return html`<${Person} key=${id} id=${id} />`;
  return html`<${Panel} sole title=${text("people")} about=${text("people.about")} side=${html`<a class="plain" href="/account"><${Sign} name="plus" /><span>${text("people.invite")}</span></a>`}>
    <div class="search-line">
      <div class="search-box"><${Sign} name="search" /><input id="search" type="search" value=${typed} placeholder=${text("people.search")} aria-label=${text("people.search")} maxlength="100"
        onInput=${(event) => setTyped(event.currentTarget.value)} /></div>
      <label class="check"><input type="checkbox" checked=${banned} onChange=${(event) => setBanned(event.currentTarget.checked)} /> ${text("people.only_banned")}</label>
    </div>
    <${Table} path=${`people?${new URLSearchParams({ q: query, ...(banned ? { banned: "1" } : {}) })}`} />
  </${Panel}>`;
}

function Table({ path }) {
  const [data, , away] = useData(path, 15);
  if (!data) return html`<${Coming} away=${away} />`;
  if (!data.people.length) return html`<${Nothing} sign="search">${text("people.none")}</${Nothing}>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${text("people")}><table class="list">
    <thead><tr><th scope="col">${text("person.name")}</th><th scope="col">${text("person.platform")}</th><th scope="col" class="figure">${text("person.day")}</th>
      <th scope="col" class="figure">${text("person.month")}</th><th scope="col">${text("person.last")}</th></tr></thead>
    <tbody>${data.people.map((person) => html`<${Found} key=${`${person.platform}:${person.user_id}`} person=${person} />`)}</tbody>
  </table></div>`;
}

function Person({ id }) {
  const [data, again, away] = useData(`people/${id}`, 10);
  const [open, setOpen] = useState(null);
  if (!data) return html`<${Coming} away=${away} />`;
  const [first] = data.accounts;
  const { totals } = data;
  const unban = (ban) => act(() => post("people/unban", { platform: ban.platform, user_id: ban.user_id, guild: ban.guild }), text("person.unbanned"), again);
  const facts = [
    [text("person.day"), number(first.day)],
    [text("person.month"), number(first.month)],
    [text("person.jobs"), number(totals.jobs)],
    [text("person.pictures"), `${number(totals.pictures)} · ${bytes(totals.bytes)}`],
    [text("person.favourites"), number(totals.favourites)],
    [text("person.sessions"), number(totals.sessions)],
    [text("person.keys"), number(totals.keys)],
  ];
  return html`
    <p class="crumbs"><a href="#people">${text("people")}</a> <span aria-hidden="true">/</span> ${first.name || first.user_id}</p>
    <${Panel} title=${first.name || first.user_id} side=${html`
      ${data.is_owner && html`<${Badge} tone="accent">${text("person.owner")}</${Badge}>`}
      <${Press} sign="plus" label=${text("person.credits")} onClick=${() => setOpen("credits")} data-action="credits" />
      ${!data.is_owner && html`<${Press} sign="stop" danger label=${text("person.ban")} onClick=${() => setOpen("ban")} data-action="ban" />`}`}>
      <dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
      <h3>${text("person.accounts")}</h3>
      <ul class="plain-list">${data.accounts.map((account) => html`<li key=${account.platform}><b>${account.platform}</b> ${account.handle ? `@${account.handle}` : ""} <code>${account.user_id}</code> <span class="quiet">${text("person.since", { date: moment(account.since) })}</span></li>`)}</ul>
      ${data.bans.length > 0 && html`<h3>${text("person.bans")}</h3>
        <ul class="entries">${data.bans.map((ban) => html`<li key=${`${ban.platform}${ban.guild}`} class="entry">
          <div class="entry-body"><p class="entry-title">${ban.place || text("everywhere")} · ${ban.until === null ? text("ban.for_good") : text("ban.until", { date: moment(ban.until) })}</p>
            <p class="quiet entry-facts">${ban.reason && html`${ban.reason} · `}${text("ban.by", { who: ban.set_by })} · <${Ago} at=${ban.set_at} /></p></div>
          <div class="entry-side"><${Press} sign="undo" label=${text("person.unban")} onClick=${() => unban(ban)} data-action="unban" /></div></li>`)}</ul>`}
    </${Panel}>
    <${Panel} title=${text("why")} about=${text("why.about")}><${Why} platform=${first.platform} person=${first.user_id} after=${data} /></${Panel}>
    ${open === "ban" && html`<${Ban} account=${first} close=${() => setOpen(null)} again=${again} />`}
    ${open === "credits" && html`<${Credits} account=${first} close=${() => setOpen(null)} again=${again} />`}`;
}

const SPANS = [["", "ban.for_good"], ["1 day", "span.day"], ["7 days", "span.week"], ["30 days", "span.month"]];

function Ban({ account, close, again }) {
  const [span, setSpan] = useState("");
  const [reason, setReason] = useState("");
  const done = () => act(
    () => post("people/ban", { platform: account.platform, user_id: account.user_id, span, reason }),
    (answer) => text("person.ban.done", { n: number(answer.cancelled) }),
    again,
  );
  return html`<${Sheet} title=${text("person.ban.title", { name: account.name || account.user_id })} action=${text("person.ban")} danger close=${close} done=${done}>
    <p class="quiet">${text("person.ban.about")}</p>
    <${Field} label=${text("ban.span")}>${(id) => html`<${Choose} id=${id} value=${span} onChange=${setSpan} options=${SPANS.map(([value, key]) => [value, text(key)])} />`}</${Field}>
    <${Field} label=${text("ban.reason")} about=${text("ban.reason.about")}>${(id) => html`<${Line} id=${id} value=${reason} onInput=${setReason} maxlength="200" data-field="reason" />`}</${Field}>
  </${Sheet}>`;
}

function Credits({ account, close, again }) {
  const [count, setCount] = useState("20");
  const [kind, setKind] = useState("bonus");
  const [span, setSpan] = useState("7 days");
  const [key] = useState(newKey);
  const done = () => act(
    () => post("people/credits", { platform: account.platform, user_id: account.user_id, key, number: count.trim(), span, kind }),
    (answer) => text("person.credits.done", { n: number(answer.pictures), date: moment(answer.until) }),
    again,
  );
  return html`<${Sheet} title=${text("person.credits.title", { name: account.name || account.user_id })} action=${text("person.credits")} close=${close} done=${done}>
    <${Field} label=${text("credits.number")}>${(id) => html`<${Line} id=${id} value=${count} onInput=${setCount} inputmode="numeric" maxlength="7" required />`}</${Field}>
    <${Field} label=${text("credits.kind")}>${(id) => html`<${Choose} id=${id} value=${kind} onChange=${setKind} options=${[["bonus", text("credits.bonus")], ["borrowed", text("credits.borrowed")]]} />`}</${Field}>
    <${Field} label=${text("credits.span")}>${(id) => html`<${Choose} id=${id} value=${span} onChange=${setSpan} options=${SPANS.slice(1).map(([value, name]) => [value, text(name)])} />`}</${Field}>
  </${Sheet}>`;
}

export function Newcomers({ again: outer }) {
  const [data, again, away] = useData("newcomers", 5);
  if (!data) return html`<${Coming} away=${away} />`;
  const both = () => Promise.all([again(), outer()]);
  const answer = (one, how) => act(() => post("newcomers/answer", { number: one.newcomer.id, answer: how }), text(`newcomer.${how}.done`), both);
  return html`<${Panel} sole title=${text("newcomers")} about=${text("newcomers.about")}>
    ${!data.requests.length && html`<${Nothing}>${text("newcomers.none")}</${Nothing}>`}
    <ul class="entries">${data.requests.map((one) => html`<li key=${one.newcomer.id} class="entry" data-newcomer=${one.newcomer.id}>
      <div class="entry-body">
        <p class="entry-title">${one.newcomer.name || one.newcomer.subject} <${Badge}>${text(`newcomer.${one.newcomer.kind}`)}</${Badge}></p>
        <p class="quote">${one.prompt || text("newcomer.private")}</p>
        <p class="quiet entry-facts">${one.newcomer.platform} · <code>${one.newcomer.subject}</code>${one.asker && ` · ${one.asker}`} · ${text("newcomer.waiting", { n: number(one.waiting) })} · <${Ago} at=${one.newcomer.asked_at} /></p>
      </div>
      <div class="entry-side">
        <${Press} sign="check" strong label=${text("newcomer.allow")} onClick=${() => answer(one, "allow")} data-action="allow" />
        <${Press} label=${text("newcomer.few")} onClick=${() => answer(one, "few")} />
        <${Press} danger label=${text("newcomer.refuse")} onClick=${() => answer(one, "refuse")} data-action="refuse" />
      </div></li>`)}</ul>
    ${data.total > data.requests.length && html`<p class="quiet more-line">${text("more", { n: number(data.total - data.requests.length) })}</p>`}
  </${Panel}>`;
}
