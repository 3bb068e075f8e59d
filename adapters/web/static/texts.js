/** The page's words: they come from the catalogues with /api/info and are put in as text, never as markup. */

let texts = {};

/** Take the catalogue's messages (`web.*`). */
export function use(messages) {
  texts = messages;
}

/** One message with its {fields} filled in; the key is given without its `web.`. */
export function t(key, fields = {}) {
  const message = texts[`web.${key}`] ?? "";
  return message.replace(/\{(\w+)\}/g, (whole, name) => (name in fields ? String(fields[name]) : whole));
}

/** Say something to people who listen to the page instead of looking at it. */
export function announce(sentence) {
  document.getElementById("live").textContent = sentence;
}
