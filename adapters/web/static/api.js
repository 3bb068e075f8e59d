/** The page's JSON API: every call answers with data, or throws Refused (a sentence) or Away (nobody answered). */

/** The service said no; `text` is one sentence in the person's language. */
export class Refused extends Error {
  constructor(status, key, text) {
    super(text);
    this.status = status;
    this.key = key;
    this.text = text;
  }
}

/** The service could not be reached, or what answered was not the service. */
export class Away extends Error {}

/** When the page was last loaded again to sign in, and the least time between two such loads. */
const ASKED = "easel.sign_in";
const AGAIN_MS = 30000;

// `?lang=` on the page's own address wins over the browser's language, for the API too.
const LANG = new URLSearchParams(location.search).get("lang");

/** The address of a path of this service, in the language of the page. */
export function address(path) {
  const url = new URL(path, location.origin);
  if (LANG) url.searchParams.set("lang", LANG);
  return url;
}

/** Load the page again, which leads a person whose session has ended to sign in. What they wrote is kept. Throws Away. */
export function signIn() {
  const [now, last] = [Date.now(), Number(sessionStorage.getItem(ASKED) ?? 0)];
  if (now - last > AGAIN_MS) {
    sessionStorage.setItem(ASKED, String(now));
    location.reload();
  }
  throw new Away("not signed in");
}

async function ask(path, options) {
  let answer;
  let body;
  try {
    answer = await fetch(address(path), { cache: "no-store", ...options });
    body = await answer.json();
  } catch (cause) {
    throw new Away("no answer", { cause });
  }
  if (answer.ok) return body;
  if (answer.status === 401) signIn();
  throw problem(answer, body);
}

/** What an answer that is no success says: Refused, or Away where it is not the service's own. */
export function problem({ status }, body) {
  const error = body?.error;
  return typeof error?.text === "string" ? new Refused(status, String(error.key), error.text) : new Away(`status ${status}`);
}

function send(path, body) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** A name for one request, so that sending it twice asks once. (crypto.randomUUID is there on https and localhost alone.) */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const info = () => ask("/api/info");

/** Ask for pictures; `files` holds those to draw from, as Blobs, or lists of them, by their field's name. */
export function draw(form, key, files = {}) {
  const asked = { ...form, key };
  if (!Object.keys(files).length) return send("/api/draw", asked);
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...asked, ...files })) for (const each of [value].flat()) body.append(name, each);
  return ask("/api/draw", { method: "POST", body });
}

export const press = (id, key) => send("/api/press", { id, key });
export const job = (id) => ask(`/api/jobs/${id}`);
export const unfinished = () => ask("/api/unfinished");
export const events = (after) => new EventSource(address(`/api/events?${new URLSearchParams({ after })}`));

/** One page of the person's jobs, newest first: `{cards, older, at}`; `asked` may hold before, limit, q, kind and starred. */
export function feed(asked = {}) {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return ask(`/api/feed?${new URLSearchParams(given)}`);
}

/** Delete jobs: `{undo, until}`; until then they can be taken back. */
export const deleteJobs = (jobs, key) => send("/api/delete", { jobs, key });
export const undoDeletion = (undo) => send("/api/undo", { undo });
export const quota = () => ask("/api/quota");

/** The parameters in a picture's file: `{form, notes, tool}`; `tool` is null where it has none. */
export function parameters(file) {
  const body = new FormData();
  body.append("file", file);
  return ask("/api/parameters", { method: "POST", body });
}

/** What a file says of itself: `{status, verified, claimed, recipe, prompt, problems, ...}` in words, and `form` as above. */
export function inspect(file) {
  const body = new FormData();
  body.append("file", file);
  return ask("/api/inspect", { method: "POST", body });
}

/** Pictures, [[job, index], ...], with their metadata as one ZIP: a Blob. */
export async function zip(pictures) {
  let answer;
  try {
    answer = await fetch(address("/api/zip"), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ pictures }) });
    if (answer.ok) return await answer.blob();
  } catch (cause) {
    throw new Away("no answer", { cause });
  }
  if (answer.status === 401) signIn();
  throw problem(answer, await answer.json().catch(() => null));
}
