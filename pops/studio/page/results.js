// What was made: each result with what can be done with it.

import { choose, h, icon, title } from "./dom.js";

/** A card of a result. `actions`: { use, vary, compose }, each given the item; any may be absent. */
export function resultCard(item, actions = {}) {
  const name = fileName(item);
  const more = [
    actions.use && action("use", "Use as input", () => actions.use(item)),
    actions.vary && action("vary", "Vary", () => actions.vary(item)),
    actions.compose && action("tree", "Compose", () => actions.compose(item)),
  ];
  return h("figure.result", { "data-result": item.id },
    h("img", { src: item.picture, alt: item.expression }),
    h("figcaption", {}, item.seed === null ? item.name : `seed ${item.seed}`,
      h("span.downloads", {}, download(item.picture, `${name}.png`, "Picture"), download(item.embedding, `${name}.safetensors`, "Embedding")),
    ),
    h("div.actions", {}, more),
  );
}

const action = (drawn, label, onclick) => h("button.small", { type: "button", onclick }, icon(drawn), label);

/** A link that saves what is at `href`. */
export function download(href, name, label) {
  return href && h("a.small", { href, download: name, title: `Download: ${label.toLowerCase()}` }, icon("download"), label);
}

/** A name for the files of a result: its operators and inputs in order, and its seed. */
export function fileName(item) {
  const words = item.expression.replace(/\.\w+'/g, "").match(/[\w-]+/g) ?? [item.name];
  return [...words, item.seed === null ? "" : `s${item.seed}`].filter(Boolean).join("_").slice(0, 100);
}

/** Ask which slot of which operator an item should go into: { operator, slot }, or undefined. */
export function chooseSlot(stack) {
  const groups = stack.operators.map((operator) => ({
    title: operator.name,
    choices: operator.slots.map((slot) => ({ label: title(slot.name), value: { operator: operator.name, slot: slot.name } })),
  }));
  return choose("Use as input of\u2026", groups);
}
