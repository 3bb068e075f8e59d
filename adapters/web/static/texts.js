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

/** Fill in what the markup names: data-text, data-label, data-placeholder. */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    // What shows no words of its own says them when pointed at.
    if (element.matches("button, a")) element.title = t(element.dataset.label);
  }
}

/** Say something to people who listen to the page instead of looking at it. */
export function announce(sentence) {
  document.getElementById("live").textContent = sentence;
}

/** A copy of a template's one element, with its words. */
export function made(id) {
  const fragment = document.getElementById(id).content.cloneNode(true);
  fill(fragment);
  return fragment.firstElementChild;
}
