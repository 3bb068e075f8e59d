/** The owner's pages: the frame, the list of sections, and their addresses. */

import { get, number, text, use } from "./owner_api.js";
import { Alerts, Home } from "./owner_home.js";
import { Device, Disk, Settings } from "./owner_machine.js";
import { Models } from "./owner_models.js";
import { Said, Sign, useData } from "./owner_parts.js";
import { Newcomers, People } from "./owner_people.js";
import { Queue } from "./owner_queue.js";
import { Quotas } from "./owner_quotas.js";
import { Audit, Reports } from "./owner_records.js";
import { html, render, useEffect, useRef, useState } from "./preact.js";

const AGAIN_MS = 1500;

const SECTIONS = [
  ["home", "home", Home],
  ["queue", "queue", Queue],
  ["people", "people", People],
  ["newcomers", "door", Newcomers],
  ["quotas", "quotas", Quotas],
  ["reports", "flag", Reports],
  ["audit", "audit", Audit],
  ["models", "models", Models],
  ["device", "chip", Device],
  ["disk", "disk", Disk],
  ["settings", "sliders", Settings],
];

// The section and the rest of the address: `#people/7`.
function useAddress() {
  const read = () => {
    const [name, id = ""] = location.hash.slice(1).split("/");
    return SECTIONS.some(([one]) => one === name) ? { name, id } : { name: "home", id: "" };
  };
  const [at, setAt] = useState(read);
  useEffect(() => {
    const changed = () => setAt(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return at;
}

function waits(name, overview) {
  if (name === "queue") return overview.waiting + overview.drawing;
  return { newcomers: overview.newcomers, reports: overview.reports }[name] ?? 0;
}

function App() {
  const { name, id } = useAddress();
  const [overview, again, away] = useData("overview", 5);
  const main = useRef();
  const first = useRef(true);
  const [, , Section] = SECTIONS.find(([one]) => one === name);
  const title = text(`section.${name}`);
  useEffect(() => {
    document.title = `${title} · Easel`;
    document.querySelector(".rail [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo({ top: 0 });
    main.current.focus({ preventScroll: true });
  }, [name, id]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>${text("skip")}</a>
    <header class="rail">
      <a class="brand" href="/" aria-label="Easel"><${Sign} name="easel" /><span>Easel</span></a>
      <nav aria-label=${text("sections")}><ul>${SECTIONS.map(([one, sign]) => {
        const count = overview ? waits(one, overview) : 0;
        return html`<li key=${one}><a href=${`#${one}`} aria-current=${one === name ? "page" : undefined} data-section=${one}><${Sign} name=${sign} /><span>${text(`section.${one}`)}</span>
          ${count > 0 && html`<span class="count">${number(count)}<span class="unseen"> ${text("waiting")}</span></span>`}</a></li>`;
      })}</ul></nav>
      <p class="rail-foot quiet"><span class=${`dot ${overview && !away ? "" : "off"}`} aria-hidden="true"></span>${overview && !away ? text("version", { version: overview.version || "–" }) : away || text("loading")}</p>
    </header>
    <main ref=${main} id="main" tabindex="-1" aria-labelledby="title" data-name=${name}>
      <h1 id="title">${title}</h1>
      ${overview && html`<${Alerts} overview=${overview} />`}
      <${Section} key=${name} id=${id} overview=${overview} again=${again} away=${away} />
    </main>
    <${Said} />`;
}

async function info() {
  for (;;) {
    try {
      return await get("info");
    } catch {
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const first = await info();
use(first);
document.documentElement.lang = first.lang;
const app = document.getElementById("app");
render(html`<${App} />`, app);
app.hidden = false;
