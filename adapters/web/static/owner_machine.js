/** The device and its memory, the disk, and the settings. */

import { ago, bytes, number, percent, post, seconds, text } from "./owner_api.js";
import { Badge, Choose, Coming, Field, Nothing, Panel, Shares, act, useData } from "./owner_parts.js";
import { html, useEffect, useState } from "./preact.js";

const TINTS = ["accent", "soft", "good", "warm"];
const degrees = (celsius) => `${number(celsius)} °C`;

function plansOf({ placements, resident }) {
  const here = placements.filter(({ model }) => resident.includes(model));
  return here.length ? here : placements;
}

const onHost = (one) => (one.on === "cpu" ? one.weights : one.host);

/** The memory of one device; `all` are the devices whose weights in main memory are shown with it. */
function Memory({ engine, machine, all, slot }) {
  const { resident } = engine;
  const name = slot ? engine.device || slot : machine.gpus[0]?.name ?? text("memory.device");
  const shown = plansOf(engine);
  const onDevice = shown.filter(({ on }) => on !== "cpu");
  const everywhere = all.flatMap(plansOf);
  const host = everywhere.reduce((sum, one) => sum + onHost(one), 0);
  const budget = Math.max(0, ...onDevice.map((one) => one.budget));
  const work = Math.max(0, ...onDevice.map((one) => one.peak - one.weights));
  const parts = onDevice.map((one, index) => ({ name: one.model, value: one.weights, label: bytes(one.weights), tone: TINTS[index % TINTS.length] }));
  if (work) parts.push({ name: text("memory.work"), value: work, label: bytes(work), tone: "hatched" });
  const used = parts.reduce((sum, { value }) => sum + value, 0);
  const rest = (whole, sum) => ({ name: text("memory.free"), label: bytes(Math.max(0, whole - sum)) });
  const main = [
    ...everywhere.map((one, index) => ({ name: one.model, value: onHost(one), label: bytes(onHost(one)), tone: TINTS[index % TINTS.length] })),
    { name: text("memory.service"), value: machine.service, label: bytes(machine.service), tone: "dim" },
    { name: text("memory.others"), value: Math.max(0, machine.memory_used - machine.service - host), label: bytes(Math.max(0, machine.memory_used - machine.service - host)), tone: "hatched" },
  ];
  return html`<${Panel} title=${slot ? `${text("memory")} · ${slot}` : text("memory")} about=${text("memory.about")}>
    ${budget > 0 && html`<h3>${name} <span class="quiet">${bytes(budget)}</span></h3>
      <${Shares} parts=${parts} whole=${budget} label=${text("memory.device")} rest=${rest(budget, used)} />`}
    ${machine.memory_total > 0 && all.length > 0 && html`<h3>${text("memory.main")} <span class="quiet">${bytes(machine.memory_total)}</span></h3>
      <${Shares} parts=${main} whole=${machine.memory_total} label=${text("memory.main")} rest=${rest(machine.memory_total, machine.memory_used)} />`}
    ${shown.length ? html`<ul class="plans">${shown.map((one) => html`<li key=${one.model}>
      <p><b>${one.model}</b> <${Badge} tone=${resident.includes(one.model) ? "good" : ""}>${text(resident.includes(one.model) ? "memory.loaded" : "memory.unloaded")}</${Badge}> <${Badge}>${one.precision}</${Badge}></p>
      <p class="quiet">${text("memory.peak", { peak: bytes(one.peak), budget: bytes(one.budget), n: number(one.together) })}</p>
      <details class="numbers"><summary>${text("memory.reasons")}<span class="unseen"> ${one.model}</span></summary><ul class="reasons" lang="en"><li>${one.sentence}</li>${one.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul></details>
    </li>`)}</ul>` : html`<${Nothing} sign="chip">${text("memory.none")}</${Nothing}>`}
  </${Panel}>`;
}

const busyShare = (state) => (state.warm_seconds ? percent(Math.min(1, state.busy_seconds / state.warm_seconds)) : "–");

/** What each of several devices does, and how fast it is. */
function Slots({ slots }) {
  const fastest = Math.max(...slots.map(({ speed }) => speed));
  return html`<${Panel} title=${text("slots")} about=${text("slots.about")}>
    <div class="scroll" tabindex="0" role="group" aria-label=${text("slots")}><table class="list">
      <thead><tr><th scope="col">${text("device.device")}</th><th scope="col">${text("device.phase")}</th><th scope="col">${text("device.model")}</th><th scope="col">${text("device.precision")}</th><th scope="col" class="figure">${text("device.memory")}</th><th scope="col" class="figure">${text("device.busy")}</th><th scope="col" class="figure">${text("device.restarts")}</th><th scope="col" class="figure">${text("slots.speed")}</th><th scope="col">${text("slots.jobs")}</th></tr></thead>
      <tbody>${slots.map(({ id, state, speed, jobs }) => html`<tr key=${id}><th scope="row">${state.device || id}</th><td>${text(`phase.${state.phase}`)}</td><td>${state.model || "–"}</td><td>${state.precision || "–"}</td><td class="figure">${state.memory ? bytes(state.memory) : "–"}</td><td class="figure">${busyShare(state)}</td><td class="figure">${number(state.restarts)}</td><td class="figure">${percent(speed / fastest)}</td><td>${jobs.map((job) => `#${job}`).join(" ") || "–"}</td></tr>`)}</tbody>
    </table></div>
  </${Panel}>`;
}

export function Device() {
  const [data, , away] = useData("device", 5);
  if (!data) return html`<${Coming} away=${away} />`;
  const { engine, machine, slots, speeds } = data;
  const several = slots.length > 1;
  const facts = [
    [text("device.phase"), text(`phase.${engine.phase}`)],
    [text("device.device"), engine.device || "–"],
    [text("device.model"), engine.model || "–"],
    [text("device.precision"), engine.precision || "–"],
    [text("device.memory"), engine.memory ? bytes(engine.memory) : "–"],
    [text("device.busy"), busyShare(engine)],
    [text("device.restarts"), number(engine.restarts)],
    [text("device.switch"), engine.switch_seconds ? seconds(engine.switch_seconds) : "–"],
    [text("device.system"), machine.system || "–"],
    [text("device.load"), machine.load === null ? "–" : text("device.load.of", { load: number(machine.load, 2), cpus: number(machine.cpus) })],
  ];
  const heat = machine.sensors.map((one) => [one.name, degrees(one.celsius)]);
  return html`
    ${engine.problem && html`<p class="banner bad" lang="en">${engine.problem}</p>`}
    <${Panel} title=${text("device")}>
      <dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
      ${machine.gpus.map((gpu, index) => html`<div key=${index} class="gpu"><h3>${gpu.name}</h3><dl class="facts">
        ${gpu.celsius !== null && html`<div><dt>${text("device.heat")}</dt><dd>${degrees(gpu.celsius)}</dd></div>`}
        ${gpu.busy !== null && html`<div><dt>${text("device.busy_now")}</dt><dd>${percent(gpu.busy)}</dd></div>`}
        ${gpu.watts !== null && html`<div><dt>${text("device.power")}</dt><dd>${number(gpu.watts)} W</dd></div>`}
        ${gpu.memory_total !== null && html`<div><dt>${text("device.memory")}</dt><dd>${bytes(gpu.memory_used ?? 0)} / ${bytes(gpu.memory_total)}</dd></div>`}
      </dl></div>`)}
      ${heat.length > 0 && html`<h3>${text("device.heat")}</h3><dl class="facts">${heat.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`}
    </${Panel}>
    ${several && html`<${Slots} slots=${slots} />`}
    ${several
      ? slots.map(({ id, state }, index) => html`<${Memory} key=${id} engine=${state} machine=${machine} all=${index ? [] : slots.map((slot) => slot.state)} slot=${id} />`)
      : html`<${Memory} engine=${engine} machine=${machine} all=${[engine]} />`}
    <${Panel} title=${text("speeds")} about=${text("speeds.about")}>
      ${speeds.length ? html`<div class="scroll" tabindex="0" role="group" aria-label=${text("speeds")}><table class="list">
        <thead><tr><th scope="col">${text("model.name")}</th><th scope="col" class="figure">${text("speeds.pictures")}</th><th scope="col" class="figure">${text("speeds.seconds")}</th><th scope="col" class="figure">${text("speeds.size")}</th><th scope="col" class="figure">${text("speeds.steps")}</th></tr></thead>
        <tbody>${speeds.map((one) => html`<tr key=${one.model}><th scope="row">${one.model}</th><td class="figure">${number(one.pictures)}</td><td class="figure">${number(one.seconds, 2)}</td><td class="figure">${number(one.megapixels, 2)}</td><td class="figure">${number(one.steps, 1)}</td></tr>`)}</tbody>
      </table></div>` : html`<${Nothing} sign="chip">${text("speeds.none")}</${Nothing}>`}
    </${Panel}>`;
}

const KEEPS = [["forever", "keep.for_good"], ["7 days", "span.week"], ["30 days", "span.month"], ["90 days", "span.quarter"], ["365 days", "span.year"]];

export function Disk() {
  const [data, again, away] = useData("disk", 30);
  const [span, setSpan] = useState("forever");
  useEffect(() => {
    if (data) setSpan(data.days === null ? "forever" : KEEPS.find(([each]) => parseInt(each) === data.days)?.[0] ?? `${data.days} days`);
  }, [data?.days]);
  if (!data) return html`<${Coming} away=${away} />`;
  const { pictures } = data;
  const known = pictures.bytes + data.models + data.database;
  const others = Math.max(0, data.total - data.free - known);
  const parts = [
    [text("disk.pictures"), pictures.bytes, "accent"],
    [text("disk.models"), data.models, "soft"],
    [text("disk.database"), data.database, "good"],
    [text("disk.others"), others, "dim"],
  ].map(([name, value, tone]) => ({ name, value, label: bytes(value), tone }));
  const days = (count) => text("keep.days", { n: number(count) });
  const options = KEEPS.map(([value, key]) => [value, text(key)]);
  if (!KEEPS.some(([value]) => value === span)) options.push([span, days(data.days)]);
  const submit = (event) => {
    event.preventDefault();
    act(() => post("disk/keep", { span }), text("keep.done"), again);
  };
  return html`
    <${Panel} sole title=${text("disk")} about=${text("disk.about", { folder: data.folder })}>
      <${Shares} parts=${parts} whole=${data.total} label=${text("disk")} rest=${{ name: text("disk.free"), label: bytes(data.free) }} />
      <dl class="facts">
        <div><dt>${text("disk.pictures")}</dt><dd>${number(pictures.count)}</dd></div>
        <div><dt>${text("disk.oldest")}</dt><dd>${pictures.oldest === null ? "–" : ago(pictures.oldest)}</dd></div>
        <div><dt>${text("disk.keep_free")}</dt><dd>${data.keep_free ? percent(data.keep_free / 100) : text("off")}</dd></div>
      </dl>
    </${Panel}>
    <${Panel} title=${text("keep")} about=${text("keep.about")}>
      <form class="inline-form" onSubmit=${submit}>
        <${Field} label=${text("keep.everywhere")}>${(id) => html`<${Choose} id=${id} value=${span} onChange=${setSpan} options=${options} data-field="keep" />`}</${Field}>
        <button type="submit" class="plain" data-action="keep">${text("keep.set")}</button>
      </form>
      ${data.places.length > 0 && html`<ul class="plain-list">${data.places.map((place) => html`<li key=${place.platform + place.guild}><b>${place.name}</b> <span class="quiet">${place.platform}</span> ${days(place.days)}</li>`)}</ul>`}
    </${Panel}>`;
}

export function Settings() {
  const [data, , away] = useData("settings");
  const [only, setOnly] = useState(false);
  if (!data) return html`<${Coming} away=${away} />`;
  const groups = [...new Set(data.settings.map(({ group }) => group))];
  const shown = data.settings.filter((one) => !only || one.source !== "default");
  if (!data.settings.length) return html`<${Panel} title=${text("settings")}><${Nothing} sign="sliders">${text("settings.none")}</${Nothing}></${Panel}>`;
  return html`
    <${Panel} sole title=${text("settings")} about=${text("settings.about")} side=${html`<label class="check"><input type="checkbox" checked=${only} onChange=${(event) => setOnly(event.currentTarget.checked)} /> ${text("settings.only")}</label>`}>
      ${groups.map((group) => {
        const some = shown.filter((one) => one.group === group);
        return some.length > 0 && html`<section key=${group} class="settings-group"><h3>${group === "easel" ? "Easel" : group}</h3><dl class="settings">${some.map((one) => html`<div key=${one.variable} class="setting">
          <dt><code>${one.variable}</code> <${Badge} tone=${one.source === "default" ? "" : "accent"}>${text(`source.${one.source}`)}</${Badge}></dt>
          <dd class="setting-value">${one.secret ? html`<${Badge} tone=${one.is_set ? "good" : ""}>${text(one.is_set ? "setting.secret" : "setting.unset")}</${Badge}>` : one.value === "" ? html`<span class="quiet">${text("setting.unset")}</span>` : html`<code>${one.value}</code>`}</dd>
          <dd class="quiet" lang="en">${one.meaning}${one.source !== "default" && one.usual && html` <span lang="en">(${text("setting.usual", { value: one.usual })})</span>`}</dd>
        </div>`)}</dl></section>`;
      })}
    </${Panel}>`;
}
