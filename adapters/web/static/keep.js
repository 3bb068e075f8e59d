/** Keeps values over reloads, with the files in them (IndexedDB). Where that is switched off, until the page is left. */

const memory = new Map();
let whose = "";
let database = null;

function opened() {
  database ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open("easel", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("kept");
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return database;
}

async function run(mode, act) {
  const kept = (await opened()).transaction("kept", mode);
  const asked = act(kept.objectStore("kept"));
  return new Promise((resolve, reject) => {
    kept.oncomplete = () => resolve(asked.result);
    kept.onerror = kept.onabort = () => reject(kept.error);
  });
}

/** Keep and find for this person from now on: others who use the same browser have values of their own. */
export function keepFor(person) {
  whose = person;
}

/** A name as it is kept for this person. */
export const named = (name) => `${name}@${whose}`;

/** The value of a name; undefined where there is none. */
export async function get(name) {
  try {
    return await run("readonly", (kept) => kept.get(named(name)));
  } catch {
    return memory.get(named(name));
  }
}

/** Keep a value. */
export async function set(name, value) {
  memory.set(named(name), value);
  try {
    await run("readwrite", (kept) => kept.put(value, named(name)));
  } catch {
    return; // storage may be switched off or full: it is kept until the page is left
  }
}
