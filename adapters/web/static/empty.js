/** Before the first picture: examples to draw at once. */

import { submit } from "./composer.js";
import { draft } from "./draft.js";
import { html } from "./preact.js";
import { t } from "./texts.js";

export function Empty() {
  const draw = (prompt) => {
    draft.set({ prompt });
    submit();
  };
  return html`
    <div id="empty" class="empty">
      <h2>${t("empty")}</h2>
      <p class="quiet">${t("empty.about")}</p>
      <div id="examples" class="examples">
        ${["example.1", "example.2", "example.3"].map((key) => html`<button type="button" class="example" key=${key} onClick=${() => draw(t(key))}>${t(key)}</button>`)}
      </div>
    </div>`;
}
