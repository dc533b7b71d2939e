// Apply: an operator, its slots, and what it makes of them.

import { download, resultCard } from "./results.js";
import { h, icon, radios, title } from "./dom.js";
import { remember } from "./history.js";
import { newSeed, settingsForm } from "./settings.js";
import { progressStrip } from "./progress.js";
import { slot } from "./slot.js";
import { wordButtons } from "./words.js";

const STARTS = { object: ["mug"], texture: ["wood"], background: ["beach"], first: ["mug"], second: ["hat"] };

const MANY = 3; // slots, above which they are laid out as a table

/** The tab, with `take(to, item)` to put an item into a slot. `actions` are those of every result. */
export async function applyTab(stack, actions) {
  let operator;
  let slots = [];
  let shown = []; // the results, as they are gone through when one is made large
  const says = h("p.hint");
  const row = h("div.slots");
  const text = h("textarea", { rows: 3, maxLength: 500, placeholder: "A word or two", "aria-label": "Text" });
  const settings = settingsForm(stack);
  const progress = progressStrip();
  const make = h("button.primary", { type: "submit" }, "Make");
  const results = h("div.results");
  const figure = h("div.figure");
  const nothing = h("p.hint.nothing", {}, "What you make appears here.");

  async function pick(name, filled = true) {
    operator = stack.operators.find((one) => one.name === name);
    says.textContent = operator.says;
    settings.own(operator.guidance);
    const many = operator.slots.length > MANY;
    slots = await Promise.all(operator.slots.map((one) => slot(one, many)));
    if (filled) await fill();
    row.classList.toggle("many", many);
    row.replaceChildren(...(many ? folded() : inARow()));
  }

  /** The slots side by side, and the text after them. */
  function inARow() {
    const joined = slots.flatMap((one, at) => [at ? h("span.sign", {}, icon("plus")) : null, one.element]);
    const last = operator.takes_text ? [h("span.sign", {}, icon("plus")), writing()] : [];
    return [...joined, ...last].filter(Boolean);
  }

  /** Of many slots, those with a picture of their own; the others can be unfolded. */
  function folded() {
    const shown = slots.filter((one) => start(one) || one.value);
    const rest = slots.filter((one) => !shown.includes(one));
    if (!shown.length || !rest.length) return slots.map((one) => one.element);
    const more = h("details.more", {}, h("summary", {}, `${rest.length} more: ${rest.map((one) => title(one.name)).join(", ")}`),
      h("div.slots.many", {}, rest.map((one) => one.element)));
    return [...shown.map((one) => one.element), more];
  }

  function writing() {
    const known = wordButtons(operator, (word) => (text.value = word), () => [text.value.trim()]);
    text.oninput = known.show;
    if (!text.value) text.value = operator.words[0] ?? "";
    known.show();
    return h("div.slot.words", {}, h("header", {}, h("h3", {}, "text")), text, known.element);
  }

  /** Something in every slot, so that the first click shows what an operator does. */
  async function fill() {
    const wanted = operator.optional ? slots.filter((one) => start(one)).slice(0, 3) : slots;
    for (const one of wanted) one.set(start(one) ?? shipped(one)[0] ?? null);
  }

  const shipped = (one) => stack.examples[operator.slots.find(({ name }) => name === one.name).examples];

  /** The picture a slot starts with: one named for it, or one that is called as it is. */
  const start = (one) => {
    const names = STARTS[one.name] ?? [one.name];
    return shipped(one).find((item) => names.some((name) => item.id.endsWith(`/${name}`)));
  };

  const request = (changed = {}) => [
    operator.name,
    trimmed(slots.map((one) => one.value?.id ?? null)),
    operator.takes_text ? text.value : "",
    { ...settings.read(), ...changed },
  ];

  /** An operator of many optional inputs is given no more of them than it needs. */
  function trimmed(ids) {
    const used = ids.reduce((last, id, at) => (id === null ? last : at + 1), 1);
    return operator.optional ? ids.slice(0, used) : ids;
  }

  async function launch(data, fresh) {
    nothing.hidden = true;
    if (fresh) {
      results.replaceChildren();
      figure.replaceChildren();
    }
    const [name] = data;
    const made = fresh ? (shown = []) : shown;
    const last = await progress.doJob("apply", data, ({ result }) => {
      const vary = () => launch([...data.slice(0, 3), { ...data[3], seeds: [newSeed()] }], false);
      made.push(result);
      remember(result);
      results.append(resultCard(result, { ...actions, vary }, () => made));
    });
    nothing.hidden = results.childElementCount > 0;
    if (last && fresh) figure.replaceChildren(download(last.figure.picture, `${name}.jpg`, "All in one figure"));
  }

  async function take(to, item) {
    await pick(to.operator);
    operators.pick(to.operator, false, true);
    const found = slots.find((one) => one.name === to.slot);
    found.set(item);
    found.element.closest("details")?.setAttribute("open", "");
    found.element.scrollIntoView({ block: "center" });
    found.element.querySelector(".zone").focus();
  }

  const names = stack.operators.map((one) => one.name);
  await pick(names[0]);
  const operators = radios("Operator", names, names[0], (name) => name !== operator.name && pick(name));
  const element = h("form.columns", { onsubmit: (event) => (event.preventDefault(), launch(request(), true)) },
    h("section.inputs", { "aria-label": "Inputs" }, operators, says, row, settings.element, h("div.go", {}, make)),
    h("section.outputs", { "aria-label": "Results" }, progress.element, nothing, results, figure),
  );
  return { element, take };
}
