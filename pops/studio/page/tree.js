// The tree of a composition: drawn from what the studio read, changed by clicking, spelled again.

import { addFile, examples, ownItems } from "./store.js";
import { choose, h, icon, title } from "./dom.js";
import { chooseSlot } from "./results.js";
import { portrait } from "./slot.js";

const EMPTY = { kind: "empty" };

/** A tree as the text of an expression. */
export function spell(node) {
  if (node.kind === "empty") return "_";
  if (node.kind === "leaf") return `'${node.name}'`;
  const inputs = node.inputs.map(spell);
  if (node.operator === "mean") inputs.push(`${node.weight}`);
  if (node.text !== null) inputs.push(`'${node.text.replace(/[\\']/g, "\\$&")}'`);
  return `${node.function}(${inputs.join(", ")})`;
}

/** How many parts stand beside each other from a leaf to the result, at most. */
export const levels = (node) => 1 + Math.max(0, ...(node.inputs ?? []).map(levels));

/** An operator with nothing in it, or with `node` in one of its slots. */
export function wrap(stack, name, node = EMPTY, slot = null) {
  const { function: spelled, slots, takes_text: takesText, optional, words } = stack.operators.find((one) => one.name === name);
  const used = optional ? slots.slice(0, slots.findIndex((one) => one.name === slot) + 1 || 1) : slots;
  const inputs = used.map((one) => ({ ...(one.name === slot ? node : EMPTY), slot: one.name }));
  return { kind: "made", operator: name, function: spelled, text: takesText ? (words[0] ?? "shiny") : null, inputs };
}

/**
 * The tree as elements. `items`: what was made, by expression. `find`: the item of a leaf's name.
 * `change(text)` is called with the new expression when something in the tree is changed.
 */
export function drawTree(stack, root, items, find, change) {
  const replace = (path, node) => change(spell(replaced(root, path, node)));

  function draw(node, path) {
    const shown = h("div.shown", {}, picture(node));
    const label = node.kind === "made" ? node.operator : node.kind === "leaf" ? title(node.name) : "left empty";
    const card = h("div.node", { "data-expression": node.expression ?? "_", class: `node ${node.kind}` },
      shown,
      h("div.about-node", {},
        node.slot ? h("small", {}, title(node.slot)) : null,
        h("span.caption", {}, label),
        node.text ? h("span.text", {}, `\u201c${node.text}\u201d`) : null,
        h("div.actions", {}, buttons(node, path)),
      ),
    );
    const inputs = (node.inputs ?? []).map((one, at) => draw(one, [...path, at]));
    return h("li", {}, card, inputs.length ? h("ul", {}, inputs) : null);
  }

  function picture(node) {
    if (node.kind === "empty") return icon("plus");
    const item = items.get(node.expression) ?? (node.kind === "leaf" ? find(node.name) : null);
    return item ? portrait(item) : h("span.pending", {}, "not made yet");
  }

  function buttons(node, path) {
    const change = h("button.small", { type: "button", onclick: () => pickPart(path) }, node.kind === "empty" ? "Fill" : "Change");
    const use = h("button.small", { type: "button", title: "Use as input of an operator", onclick: () => useNode(node, path) }, icon("use"), "Use");
    const text = node.text ? h("button.small", { type: "button", onclick: () => rewrite(node, path) }, "Text") : null;
    return node.kind === "empty" ? [change] : [use, change, text].filter(Boolean);
  }

  async function rewrite(node, path) {
    const text = await chooseText(stack.operators.find((one) => one.name === node.operator), node.text);
    if (text) replace(path, { ...node, text });
  }

  async function useNode(node, path) {
    const to = await chooseSlot(stack);
    if (to) replace(path, wrap(stack, to.operator, node, to.slot));
  }

  async function pickPart(path) {
    const node = await choosePart(stack);
    if (node) replace(path, node);
  }

  return h("ul.tree", {}, draw(root, []));
}

/** Ask for the text of an operator: one of its words, or another. */
async function chooseText(operator, text) {
  const group = operator.words_known ? "Words it knows" : "For example";
  const box = h("input", { type: "text", value: text, maxLength: 500, "aria-label": "Text" });
  const write = (end) => [h("form.actions.written", { onsubmit: (event) => (event.preventDefault(), end(box.value.trim())) },
    box, h("button", { type: "submit" }, "Use this"))];
  return choose(`Text of ${operator.name}`, [{ title: group, choices: operator.words.map((word) => ({ label: word, value: word })) }], write);
}

/** Ask for what should stand in a place: a picture, an operator, or nothing. */
export async function choosePart(stack) {
  const leaf = (item) => ({ label: title(item.name), picture: item.picture, value: { kind: "leaf", name: item.name } });
  const operators = stack.operators.map(({ name }) => ({ label: name, value: wrap(stack, name) }));
  const folders = Object.entries(await examples());
  return choose("What should stand here?", [
    { title: "Yours", choices: ownItems().map(leaf) },
    { title: "An operator", choices: [...operators, { label: "leave empty", value: EMPTY }] },
    ...folders.map(([folder, list]) => ({ title: folder, choices: list.map(leaf) })),
  ], uploader);
}

function uploader(end) {
  const error = h("p.error", { hidden: true, role: "alert" });
  const file = h("input.unseen", { type: "file", accept: "image/*,.safetensors", tabIndex: -1, "aria-hidden": "true" });
  file.onchange = async () => {
    try {
      const item = await addFile(file.files[0]);
      end({ kind: "leaf", name: item.name });
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
    }
  };
  return [h("button", { type: "button", onclick: () => file.click() }, icon("plus"), "A file of yours"), file, error];
}

function replaced(node, path, other) {
  if (path.length === 0) return other;
  const [first, ...rest] = path;
  return { ...node, inputs: node.inputs.map((one, at) => (at === first ? replaced(one, rest, other) : one)) };
}
