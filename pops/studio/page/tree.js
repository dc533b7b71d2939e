// The tree of a composition: drawn from what the studio read, changed by clicking, spelled again.

import { addFile, examples, keepResult, ownItems } from "./store.js";
import { choose, h, icon, title } from "./dom.js";
import { caption, chooseSlot } from "./results.js";
import { enlargeable } from "./viewer.js";
import { madeItems } from "./history.js";
import { portrait } from "./slot.js";

const EMPTY = { kind: "empty" };

/** A tree as the text of an expression. */
export function spell(node) {
  if (node.kind === "empty") return "_";
  if (node.kind === "leaf") return `'${node.name}'`;
  const inputs = node.inputs.map(spell);
  if (node.text !== null) inputs.push(quoted(node.text));
  for (const one of node.arguments) {
    if (one.name === "strength" && one.value === 1) continue;
    inputs.push(`${one.named ? `${one.name}=` : ""}${one.written ?? one.value}`);
  }
  return `${node.function}(${inputs.join(", ")})`;
}

/** A text as expressions write it. */
export const quoted = (text) => `'${text.replace(/[\\']/g, "\\$&").replace(/\n/g, "\\n")}'`;

/** A function that needs no training, with nothing in it. */
function call(name, slots, text, given = []) {
  const inputs = Array.from({ length: slots }, () => ({ ...EMPTY, slot: "" }));
  return { kind: "made", operator: name, function: name, text, arguments: given, inputs };
}

const FUNCTIONS = [
  { label: "a text", value: call("text", 0, "a red mug") },
  { label: "mean", value: call("mean", 2, null, [{ name: "weight", named: false, value: 0.5 }]) },
  { label: "slerp", value: call("slerp", 2, null, [{ name: "t", named: false, value: 0.5 }]) },
  { label: "add", value: call("add", 2, null, [{ name: "amount", named: false, value: 1 }]) },
];

/** How many parts stand beside each other from a leaf to the result, at most. */
export const levels = (node) => 1 + Math.max(0, ...(node.inputs ?? []).map(levels));

/** An operator with nothing in it, or with `node` in one of its slots. */
export function wrap(stack, name, node = EMPTY, slot = null) {
  const { function: spelled, slots, takes_text: takesText, optional, words } = stack.operators.find((one) => one.name === name);
  const used = optional ? slots.slice(0, slots.findIndex((one) => one.name === slot) + 1 || 1) : slots;
  const inputs = used.map((one) => ({ ...(one.name === slot ? node : EMPTY), slot: one.name }));
  return { kind: "made", operator: name, function: spelled, text: takesText ? (words[0] ?? "shiny") : null, arguments: [], inputs };
}

/**
 * The tree as elements. `items`: what was made, by expression. `find`: the item of a leaf's name.
 * `change(text, again)` is called with the new expression when something in the tree is changed, and
 * with true where only a number of it is. `actions` are those of a part that is made large.
 */
export function drawTree(stack, root, items, find, change, actions) {
  const replace = (path, node, again = false) => change(spell(replaced(root, path, node)), again);

  function draw(node, path) {
    const shown = h("div.shown", {}, picture(node));
    const label = node.kind === "made" ? node.operator : node.kind === "leaf" ? title(node.name) : "left empty";
    const card = h("div.node", { "data-expression": node.expression ?? "_", class: `node ${node.kind}` },
      shown,
      h("div.about-node", {},
        node.slot ? h("small", {}, title(node.slot)) : null,
        h("span.caption", {}, label),
        node.text ? h("span.text", {}, `\u201c${node.text}\u201d`) : null,
        ...(node.arguments ?? []).map((one) => argument(node, path, one)),
        h("div.actions", {}, buttons(node, path)),
      ),
    );
    const inputs = (node.inputs ?? []).map((one, at) => draw(one, [...path, at]));
    return h("li", {}, card, inputs.length ? h("ul", {}, inputs) : null);
  }

  function picture(node) {
    if (node.kind === "empty") return icon("plus");
    const item = items.get(node.expression) ?? (node.kind === "leaf" ? find(node.name) : null);
    if (items.get(node.expression)?.picture) return enlargeable(item, actions, () => [...items.values()]);
    return item ? portrait(item) : h("span.pending", {}, "not made yet");
  }

  /** What an operator or a function is given beside its inputs: a slider, or as it is written. */
  function argument(node, path, one) {
    if (one.written !== undefined) return h("span.text", {}, `${one.name} ${one.written}`);
    const value = h("output", {}, `${one.value}`);
    const slider = h("input", { type: "range", min: one.least, max: one.most, step: 0.05, value: one.value, "aria-label": `${one.name} of ${node.operator}` });
    slider.oninput = () => (value.textContent = slider.value);
    slider.onchange = () => replace(path, {
      ...node,
      arguments: node.arguments.map((other) => (other === one ? { ...one, value: Number(slider.value) } : other)),
    }, true);
    return h("label.slider", {}, h("small", {}, one.name), slider, value);
  }

  function buttons(node, path) {
    const change = h("button.small", { type: "button", onclick: () => pickPart(path) }, node.kind === "empty" ? "Fill" : "Change");
    const use = h("button.small", { type: "button", title: "Use as input of an operator", onclick: () => useNode(node, path) }, icon("use"), "Use");
    const text = node.text ? h("button.small", { type: "button", onclick: () => rewrite(node, path) }, "Text") : null;
    return node.kind === "empty" ? [change] : [use, change, text].filter(Boolean);
  }

  async function rewrite(node, path) {
    const known = stack.operators.find((one) => one.name === node.operator);
    const text = await chooseText(known ?? { name: node.operator, words: [] }, node.text);
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
  const words = operator.words.map((word) => ({ label: word, value: word }));
  return choose(`Text of ${operator.name}`, words.length ? [{ title: group, choices: words }] : [], write);
}

/** Ask for what should stand in a place: a picture, an operator, or nothing. */
export async function choosePart(stack) {
  const leaf = (item) => ({ label: title(item.name), picture: item.picture, value: { kind: "leaf", name: item.name } });
  const operators = stack.operators.map(({ name }) => ({ label: name, value: wrap(stack, name) }));
  const made = madeItems().map((item) => ({ label: caption(item), picture: item.picture, value: { result: item } }));
  const folders = Object.entries(await examples());
  const chosen = await choose("What should stand here?", [
    { title: "Yours", choices: ownItems().map(leaf) },
    { title: "An operator", choices: [...operators, { label: "leave empty", value: EMPTY }] },
    { title: "Without training", choices: FUNCTIONS },
    { title: "Results", choices: made },
    ...folders.map(([folder, list]) => ({ title: folder, choices: list.map(leaf) })),
  ], uploader);
  return chosen?.result ? { kind: "leaf", name: (await keepResult(chosen.result)).name } : chosen;
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
