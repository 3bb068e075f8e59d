/** Who is signed in, where /api/info says so in `account`: {name, links: [{label, url}]}. */

import { Icon } from "./parts.js";
import { html } from "./preact.js";
import { useStore } from "./store.js";
import { t } from "./texts.js";

export function Account() {
  const account = useStore("engine", (store) => store.about.account);
  if (!account) return null;
  return html`
    <button type="button" id="account" class="plain bare" popovertarget="account-menu" aria-haspopup="menu" aria-label=${t("account", { name: account.name })} title=${account.name}>
      <${Icon} name="person" />
    </button>
    <div id="account-menu" class="popover menu" popover="auto">
      <p class="menu-name">${account.name}</p>
      ${(account.links ?? []).map(({ label, url }) => html`<a key=${url} href=${url} onClick=${() => document.getElementById("account-menu").hidePopover()}>${label}</a>`)}
    </div>`;
}
