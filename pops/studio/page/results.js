// What was made: each result with what can be done with it.

import { choose, h, icon, title } from "./dom.js";
import { enlargeable } from "./viewer.js";
import { star } from "./history.js";

/**
 * A card of a result. `actions`: { use, vary, compose, find }, each given the item; any may be absent.
 * `among()` gives the results that can be gone through when this one is made large.
 */
export function resultCard(item, actions = {}, among = () => [item]) {
  const { vary, ...enlarged } = actions;
  return h("figure.result", { "data-result": item.id },
    enlargeable(item, enlarged, among),
    h("figcaption", {}, caption(item), downloads(item)),
    resultActions(item, actions, false),
  );
}

/** The buttons of a result: what can be done with it, and with `files` its downloads. */
export function resultActions(item, actions, files = true) {
  return h("div.actions", {},
    actions.use && action("use", "Use as input", () => actions.use(item)),
    actions.vary && action("vary", "Vary", () => actions.vary(item)),
    actions.compose && item.embedding && action("tree", "Compose", () => actions.compose(item)),
    actions.find && action("search", "Find", () => actions.find(item)),
    item.embedding ? star(item) : null,
    files ? downloads(item) : null,
  );
}

/** What is said under a result: what it is, and its seed. */
export function caption(item) {
  if (item.found) return `${item.rank}: ${title(item.found)} (${item.score.toFixed(3)})`;
  return item.seed === null ? title(item.name) : `seed ${item.seed}`;
}

const downloads = (item) =>
  h("span.downloads", {},
    download(item.picture, item.found ? item.name : `${fileName(item)}.png`, "Picture"),
    download(item.embedding, `${fileName(item)}.safetensors`, "Embedding"),
  );

const action = (drawn, label, onclick) => h("button.small", { type: "button", onclick }, icon(drawn), label);

/** A link that saves what is at `href`. */
export function download(href, name, label) {
  return href && h("a.small", { href, download: name, title: `Download: ${label.toLowerCase()}` }, icon("download"), label);
}

const LONGEST = 48; // letters, so that with its ending the studio takes it as the name of an input

/** A name for the files of a result: its operators and inputs in order, and its seed. */
export function fileName(item) {
  const words = item.expression.replace(/\.\w+'/g, "").match(/[\w-]+/g) ?? [item.name];
  const seed = item.seed === null ? "" : `_s${item.seed}`;
  return words.join("_").slice(0, LONGEST - seed.length) + seed;
}

/** Ask which slot of which operator an item should go into, or for one of `more` groups of choices. */
export function chooseSlot(stack, more = []) {
  const groups = stack.operators.map((operator) => ({
    title: operator.name,
    choices: operator.slots.map((slot) => ({ label: title(slot.name), value: { operator: operator.name, slot: slot.name } })),
  }));
  return choose("Use as input of\u2026", [...groups, ...more]);
}
