/** The account page: sessions, password, passkeys and API keys of the person who is signed in; for owners, invitations. */

import { html, render, useEffect, useState } from "./preact.js";
import { answered, create, hasPasskeys, send } from "./sign_in.js";

const AGAIN_MS = 1500;

let texts = {};
let lang = "en";

/** A message of the catalogue under `account.`, with its fields filled in. */
function say(key, fields = {}) {
  return (texts[`account.${key}`] ?? key).replace(/\{(\w+)\}/g, (whole, name) => fields[name] ?? whole);
}

const day = (iso) => (iso ? new Date(iso).toLocaleString(lang, { dateStyle: "medium", timeStyle: "short" }) : say("never"));

async function load(path) {
  const chosen = new URLSearchParams(location.search).get("lang");
  const response = await fetch(chosen ? `${path}?${new URLSearchParams({ lang: chosen })}` : path);
  if (response.status === 401) location.assign("/signin?next=/account");
  return answered(response);
}

/** A button that runs `act` once at a time, and shows what went wrong under it. */
function Act({ label, act, danger = false, main = false, describedby }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const press = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem("");
    try {
      await act();
    } catch (error) {
      setProblem(error instanceof DOMException ? say("passkey.failed") : error.message);
    }
    setBusy(false);
  };
  const kind = main ? "primary" : danger ? "plain danger" : "plain";
  return html`<button type="button" class=${kind} aria-disabled=${busy || undefined} aria-describedby=${describedby} onClick=${press}>${label}</button>
    ${problem && html`<p class="gate-problem" role="alert">${problem}</p>`}`;
}

function Part({ name, about, children }) {
  return html`<section class="account-part" aria-labelledby=${`part-${name}`}>
    <h2 id=${`part-${name}`}>${say(name)}</h2>
    ${about && html`<p class="about">${about}</p>`}
    ${children}
  </section>`;
}

function Row({ id, title, facts, children }) {
  return html`<li class="account-row"><div id=${id}><strong>${title}</strong><p class="about">${facts.filter(Boolean).join(" · ")}</p></div>${children}</li>`;
}

function Sessions({ sessions, changed }) {
  return html`<${Part} name="sessions" about=${say("sessions.about")}>
    <ul>${sessions.map((one) => html`
      <${Row} key=${one.id} id=${`session-${one.id}`} title=${one.browser || say("browser.unknown")}
        facts=${[one.current && say("sessions.current"), say(`method.${one.method}`), say("used", { when: day(one.used_at) })]}>
        ${!one.current && html`<${Act} label=${say("sessions.end")} danger describedby=${`session-${one.id}`}
          act=${async () => { await send("/api/account/sessions/end", { id: one.id }); await changed(); }} />`}
      <//>`)}
    </ul>
    <div class="account-actions">
      <form method="post" action="/signout"><button class="plain">${say("sign_out")}</button></form>
      <${Act} label=${say("sign_out.all")} danger act=${async () => { await send("/api/account/sessions/end-all", {}); location.assign("/signin"); }} />
    </div>
  <//>`;
}

function Password({ login, changed }) {
  const [values, setValues] = useState({ old: "", new: "" });
  const [done, setDone] = useState(false);
  const field = (name, complete) => html`<label for=${`password-${name}`}>${say(`password.${name}`)}</label>
    <input id=${`password-${name}`} type="password" autocomplete=${complete} value=${values[name]} onInput=${(event) => setValues({ ...values, [name]: event.target.value })} />`;
  return html`<${Part} name="password" about=${say("password.about", { login })}>
    <form class="account-form" onSubmit=${(event) => event.preventDefault()}>
      <input type="text" autocomplete="username" value=${login} hidden readonly />
      ${field("old", "current-password")}${field("new", "new-password")}
      <${Act} label=${say("password.change")} act=${async () => {
        await send("/api/account/password", values);
        setValues({ old: "", new: "" });
        setDone(true);
        await changed();
      }} />
      ${done && html`<p role="status">${say("password.done")}</p>`}
    </form>
  <//>`;
}

function Passkeys({ passkeys, may, changed }) {
  const [name, setName] = useState("");
  return html`<${Part} name="passkeys" about=${say("passkeys.about")}>
    <ul>${passkeys.map((one) => html`
      <${Row} key=${one.id} id=${`passkey-${one.id}`} title=${one.name || say("passkeys.unnamed")}
        facts=${[one.host, say("made", { when: day(one.created_at) }), say("used", { when: day(one.used_at) })]}>
        <${Act} label=${say("remove")} danger describedby=${`passkey-${one.id}`}
          act=${async () => { await send("/api/account/passkeys/remove", { id: one.id }); await changed(); }} />
      <//>`)}
    </ul>
    ${may && hasPasskeys() && html`<div class="account-form">
      <label for="passkey-name">${say("passkeys.name")}</label>
      <input id="passkey-name" maxlength="64" value=${name} onInput=${(event) => setName(event.target.value)} />
      <${Act} label=${say("passkeys.add")} act=${async () => {
        const credential = await create(await send("/api/account/passkeys/options", {}));
        await send("/api/account/passkeys", { credential, name });
        setName("");
        await changed();
      }} /></div>`}
    ${!may && html`<p class="about">${say("passkeys.address")}</p>`}
  <//>`;
}

function Secret({ secret, about }) {
  return html`<div class="account-secret" role="status"><p>${about}</p><code tabindex="0">${secret}</code>
    <${Act} label=${say("copy")} act=${() => navigator.clipboard.writeText(secret)} /></div>`;
}

/** Makes something that has a secret, and shows it once. */
function Make({ name, fields, button, about, act }) {
  const [values, setValues] = useState({});
  const [secret, setSecret] = useState("");
  return html`<div class="account-form">
    ${fields.map((field) => html`<label key=${field} for=${`${name}-${field}`}>${say(`${name}.${field}`)}</label>
      <input id=${`${name}-${field}`} autocomplete="off" value=${values[field] ?? ""} onInput=${(event) => setValues({ ...values, [field]: event.target.value })} />`)}
    <${Act} label=${button} act=${async () => { setSecret(await act(values)); setValues({}); }} />
    ${secret && html`<${Secret} secret=${secret} about=${about} />`}
  </div>`;
}

function Keys({ keys, may, changed }) {
  return html`<${Part} name="keys" about=${say("keys.about")}>
    <ul>${keys.map((one) => html`
      <${Row} key=${one.id} id=${`key-${one.id}`} title=${one.name} facts=${[`${one.prefix}…`, say("made", { when: day(one.created_at) }), say("used", { when: day(one.used_at) })]}>
        <${Act} label=${say("keys.revoke")} danger describedby=${`key-${one.id}`}
          act=${async () => { await send("/api/account/keys/revoke", { id: one.id }); await changed(); }} />
      <//>`)}
    </ul>
    ${may && html`<${Make} name="keys" fields=${["name"]} button=${say("keys.make")} about=${say("keys.once")} act=${async (values) => {
      const made = await send("/api/account/keys", { name: values.name ?? "" });
      await changed();
      return made.key;
    }} />`}
  <//>`;
}

function Invitations({ invitations, changed }) {
  return html`<${Part} name="invitations" about=${say("invitations.about")}>
    <ul>${invitations.map((one) => html`
      <${Row} key=${one.id} id=${`invitation-${one.id}`} title=${one.name || say("invitations.unnamed")} facts=${[one.quota, say("invitations.until", { when: day(one.expires_at) })]}>
        <${Act} label=${say("invitations.withdraw")} danger describedby=${`invitation-${one.id}`}
          act=${async () => { await send("/api/invitations/withdraw", { id: one.id }); await changed(); }} />
      <//>`)}
    </ul>
    <${Make} name="invitations" fields=${["name", "quota"]} button=${say("invitations.make")} about=${say("invitations.once")} act=${async (values) => {
      const made = await send("/api/invitations", values);
      await changed();
      return made.url;
    }} />
  <//>`;
}

/** Joins an account of the page with one in a chat. */
function Link({ changed }) {
  const [code, setCode] = useState("");
  const [done, setDone] = useState("");
  return html`<${Part} name="link" about=${say("link.about")}>
    <div class="account-form"><label for="link-code">${say("link.code")}</label>
      <input id="link-code" autocomplete="off" maxlength="40" value=${code} onInput=${(event) => setCode(event.target.value)} />
      <${Act} label=${say("link.join")} act=${async () => {
        const { card } = await send("/api/account/link", { code });
        setCode("");
        setDone(card.status);
        await changed();
      }} />
      ${done && html`<p role="status">${done}</p>`}</div>
  <//>`;
}

function Lines({ card }) {
  return html`<p>${card.status}</p>
    ${card.notes.map((note) => html`<p key=${note} class="about">${note}</p>`)}
    ${card.facts.map((fact) => html`<p key=${fact.label} class="about">${fact.label}: ${fact.value}</p>`)}`;
}

/** How much of their requests this person's picture files tell. */
function Files({ recipe, changed }) {
  const [said, setSaid] = useState(null);
  const choose = async ({ target }) => {
    try {
      await send("/api/account/files", { recipe: target.value });
      setSaid({ text: say("files.done") });
      await changed();
    } catch (error) {
      setSaid({ text: error.message, wrong: true });
    }
  };
  return html`<${Part} name="files" about=${say("files.about")}>
    <div class="account-form"><label for="files-recipe">${say("files.recipe")}</label>
      <select id="files-recipe" value=${recipe} onChange=${choose}>
        ${["always", "public", "never"].map((rule) => html`<option key=${rule} value=${rule}>${say(`files.${rule}`)}</option>`)}
      </select>
      ${said && html`<p class=${said.wrong ? "gate-problem" : ""} role=${said.wrong ? "alert" : "status"}>${said.text}</p>`}</div>
  <//>`;
}

/** The server or group whose admin asked for a link there. */
function Place({ place, changed }) {
  const set = (state) => async () => { await send("/api/place/state", { state }); await changed(); };
  return html`<${Part} name="place" about=${place.name}>
    <${Lines} card=${place.limits} />
    <h3>${say("place.changes")}</h3>
    <${Lines} card=${place.changes} />
    <div class="account-actions"><${Act} label=${say("place.pause")} danger act=${set("pause")} /><${Act} label=${say("place.resume")} act=${set("resume")} /></div>
  <//>`;
}

function Account() {
  const [found, setFound] = useState(null);
  const refresh = async () => {
    const account = await load("/api/account");
    ({ texts, lang } = account);
    document.documentElement.lang = lang;
    document.title = `${say("title")} · Easel`;
    const invitations = account.role === "owner" ? (await load("/api/invitations")).invitations : null;
    const place = account.place ? await load("/api/place") : null;
    setFound({ ...account, invitations, place });
  };
  // Until the first answer there are no words to say an error in.
  const begin = () => refresh().catch(() => setTimeout(begin, AGAIN_MS));
  useEffect(() => void begin(), []);
  if (!found) return null;
  const session = found.sessions.length > 0;
  return html`<div class="account">
    <header class="account-top"><a class="plain" href="/">${say("back")}</a></header>
    <main>
      <h1>${found.name || say("title")}</h1>
      <p class="about">${say(`role.${found.role}`)} · ${say(`method.${found.method}`)}</p>
      ${!session && html`<p>${say("without")}</p>`}
      <${Files} recipe=${found.recipe} changed=${refresh} />
      ${session && html`<${Sessions} sessions=${found.sessions} changed=${refresh} />`}
      ${session && found.login && html`<${Password} login=${found.login} changed=${refresh} />`}
      ${session && html`<${Passkeys} passkeys=${found.passkeys} may=${found.may_add_passkey} changed=${refresh} />`}
      ${session && (found.may_make_keys || found.keys.length > 0) && html`<${Keys} keys=${found.keys} may=${found.may_make_keys} changed=${refresh} />`}
      ${session && found.platform === "web" && found.role !== "owner" && html`<${Link} changed=${refresh} />`}
      ${found.place && html`<${Place} place=${found.place} changed=${refresh} />`}
      ${found.invitations && html`<${Invitations} invitations=${found.invitations} changed=${refresh} />`}
    </main>
  </div>`;
}

render(html`<${Account} />`, document.getElementById("account-page"));
