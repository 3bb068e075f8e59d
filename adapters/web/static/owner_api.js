/** Calls of /api/owner, the words of the owner's pages, and numbers, sizes and times as people of the language write them. */

import { Away, address, problem, signIn } from "./api.js";

let words = {};
let lang = "en";

/** Take the answer of /api/owner/info. */
export function use(info) {
  words = info.texts;
  lang = info.lang;
}

/** One message with its {fields} filled in; the key is given without its `owner.`. */
export function text(key, fields = {}) {
  const message = words[`owner.${key}`] ?? "";
  return message.replace(/\{(\w+)\}/g, (whole, name) => (name in fields ? String(fields[name]) : whole));
}

/** The message of one of several keys that an answer names; the name itself where there is none. */
export function named(prefix, name) {
  return words[`owner.${prefix}.${name.replaceAll(" ", "_")}`] ?? name;
}

async function ask(path, options) {
  let answer;
  let body;
  try {
    answer = await fetch(address(`/api/owner/${path}`), { cache: "no-store", ...options });
    body = await answer.json();
  } catch (cause) {
    throw new Away("no answer", { cause });
  }
  if (answer.ok) return body;
  if (answer.status === 401) signIn();
  throw problem(answer, body);
}

export const get = (path) => ask(path);
export const post = (path, body) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** A whole number, or one with at most `digits` after the point. */
export const number = (value, digits = 0) => new Intl.NumberFormat(lang, { maximumFractionDigits: digits }).format(value);

export const percent = (share) => new Intl.NumberFormat(lang, { style: "percent", maximumFractionDigits: 0 }).format(share);

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** A size in the largest unit of which there is one: 1.2 GB. */
export function bytes(value) {
  let [size, unit] = [value, 0];
  while (size >= 1000 && unit < UNITS.length - 1) [size, unit] = [size / 1000, unit + 1];
  const digits = unit && size < 100 ? 1 : 0;
  return new Intl.NumberFormat(lang, { style: "unit", unit: UNITS[unit], unitDisplay: "short", maximumFractionDigits: digits }).format(size);
}

const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** How long ago, or in how long, a time in Unix seconds is. */
export function ago(at) {
  const away = at - Date.now() / 1000;
  const [unit, step] = STEPS.find(([, seconds]) => Math.abs(away) >= seconds) ?? STEPS.at(-1);
  return new Intl.RelativeTimeFormat(lang, { numeric: "auto" }).format(Math.trunc(away / step), unit);
}

/** A length of time: 3 min, 12 s. */
export function seconds(value) {
  const [unit, step] = STEPS.find(([, each]) => value >= 2 * each) ?? STEPS.at(-1);
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(value / step);
}

/** A moment with its day. */
export const moment = (at) => new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" }).format(at * 1000);

/** The time of day. */
export const clock = (at) => new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit" }).format(at * 1000);
