// The visitor's own pictures and embeddings, by names that are each used once.

import { fileName } from "./results.js";
import { getStack, upload } from "./api.js";

const own = new Map();
const listeners = new Set();
const taken = new Set();

/** Call `listener` whenever something is added. */
export const onStored = (listener) => listeners.add(listener);

/** The visitor's own items, the newest first. */
export const ownItems = () => [...own.values()].reverse();

/** The ids of own items by name, as expressions use them. */
export const ownNames = () => Object.fromEntries([...own].map(([name, item]) => [name, item.id]));

/** The example pictures, in their folders. */
export const examples = async () => (await getStack()).examples;

/** The item that an expression calls `name`. */
export async function named(name) {
  return own.get(name) ?? Object.values(await examples()).flat().find((item) => item.name === name);
}

/** Add a file, under its name or one like it that is free. Throws with one friendly line. */
export async function addFile(file) {
  const shipped = Object.values(await examples()).flat().map((item) => item.name);
  let name = file.name.replace(/['"`<>~\\/]/g, "") || "picture";
  const [, stem, ending] = /^(.*?)(\.[^.]*)?$/s.exec(name);
  const used = (one) => own.has(one) || taken.has(one) || shipped.includes(one);
  for (let number = 2; used(name); number += 1) name = `${stem}-${number}${ending ?? ""}`;
  taken.add(name); // before it is there, since several may be on their way
  try {
    return put(await upload(file, name));
  } finally {
    taken.delete(name);
  }
}

/** Keep a result under a name that expressions can use: that of its embedding file. */
export async function keepResult(item) {
  const stem = fileName(item);
  const same = [...own.values()].find((one) => one.id === item.id);
  if (same) return same;
  let name = `${stem}.safetensors`;
  for (let number = 2; own.has(name); number += 1) name = `${stem.slice(0, 45)}-${number}.safetensors`;
  return put({ ...item, name });
}

/** Keep an item that the studio has. */
export function put(item) {
  own.set(item.name, item);
  listeners.forEach((listener) => listener());
  return item;
}
