/** Passkeys: signs in with one, or makes one, where the browser has passkeys. Everything else works without scripts. */

const coded = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const decoded = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
const listed = (list) => (list ?? []).map((one) => ({ ...one, id: decoded(one.id) }));

export const hasPasskeys = () => isSecureContext && "PublicKeyCredential" in window;

/** The JSON of a response. Throws an Error with the sentence of a refusal. */
export async function answered(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.text ?? response.statusText);
  return answer;
}

/** POSTs JSON; returns the answer, or throws as `answered` does. */
export async function send(path, body) {
  return answered(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
}

/** What the server needs of a credential, with its bytes in base64url. */
function plain(credential) {
  const response = { clientDataJSON: coded(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = coded(credential.response[name]);
  }
  return { id: credential.id, rawId: coded(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
}

/** Asks the browser for a new passkey by the options of the server. */
export async function create(options) {
  const publicKey = {
    ...options,
    challenge: decoded(options.challenge),
    user: { ...options.user, id: decoded(options.user.id) },
    excludeCredentials: listed(options.excludeCredentials),
  };
  return plain(await navigator.credentials.create({ publicKey }));
}

async function get(options) {
  const publicKey = { ...options, challenge: decoded(options.challenge), allowCredentials: listed(options.allowCredentials) };
  return plain(await navigator.credentials.get({ publicKey }));
}

function start(box) {
  const [button, problem] = [box.querySelector("button"), box.querySelector("[role=alert]")];
  const { kind, base, next, failed } = box.dataset;
  const name = () => document.getElementById("field-name")?.value.trim() ?? "";
  button.addEventListener("click", async () => {
    button.setAttribute("aria-disabled", "true");
    problem.hidden = true;
    try {
      const options = await send(`${base}/options`, kind === "register" ? { name: name() } : {});
      const credential = kind === "register" ? await create(options) : await get(options);
      await send(base, { credential, name: name() });
      location.assign(next);
    } catch (error) {
      // Browsers word their own errors in no person's language: NotAllowedError when somebody cancels.
      problem.textContent = error instanceof DOMException ? failed : error.message;
      problem.hidden = false;
      button.removeAttribute("aria-disabled");
    }
  });
  box.hidden = false;
}

const box = document.getElementById("passkey");
if (box && hasPasskeys()) start(box);
