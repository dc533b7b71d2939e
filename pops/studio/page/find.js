// Find: the pictures of the studio's index that are nearest to a picture, or to what words say.

import { enlargeable } from "./viewer.js";
import { caption, resultActions } from "./results.js";
import { h, radios } from "./dom.js";
import { progressStrip } from "./progress.js";
import { quoted } from "./tree.js";
import { slot } from "./slot.js";

const QUERY = "query.png"; // what the expression calls the picture

/** The tab, with `look(item)` to find what is like an item. */
export async function findTab(stack, actions) {
  const wanted = await slot({ name: "picture", examples: Object.keys(stack.examples)[0] });
  const words = h("textarea", { rows: 3, maxLength: 500, placeholder: "A red mug on the beach", "aria-label": "Words" });
  const seed = h("input", { type: "number", value: 18, min: 0 });
  const count = h("input", { type: "number", value: 12, min: 1, max: stack.limits.found });
  const said = h("div.fields", {}, words, h("label.field", { title: "Words are made into an embedding, which differs with the seed" }, h("span", {}, "Seed"), seed));
  const progress = progressStrip();
  const results = h("div.results.found");
  const nothing = h("p.hint.nothing", {}, "What is found appears here, the nearest first.");
  const of = h("p.hint", { hidden: true });
  let by;

  const kinds = radios("Look for", ["a picture", "words"], "a picture", (name) => {
    by = name;
    wanted.element.hidden = by === "words";
    said.hidden = by !== "words";
  });

  /** What is looked for, as an expression and the inputs that it names; nothing if it is empty. */
  function query() {
    if (by === "words") return words.value.trim() ? [`text(${quoted(words.value.trim())})`, {}] : null;
    return wanted.value ? [`'${QUERY}'`, { [QUERY]: wanted.value.id }] : null;
  }

  async function start() {
    const asked = query();
    if (!asked) return progress.fail(by === "words" ? "Write what to look for." : "Give a picture to look for.");
    nothing.hidden = true;
    of.hidden = true;
    results.replaceChildren();
    const found = [];
    const settings = { seeds: [Math.max(0, Math.trunc(+seed.value || 0))] };
    const most = Math.min(Math.max(1, Math.trunc(+count.value) || 1), stack.limits.found);
    const last = await progress.doJob("find", [...asked, settings, most], ({ result }) => {
      found.push(result);
      results.append(h("figure.result", { "data-result": result.id },
        enlargeable(result, actions, () => found),
        h("figcaption", { title: result.found }, caption(result)),
        resultActions(result, { use: actions.use, find: actions.find }, false),
      ));
    });
    nothing.hidden = results.childElementCount > 0;
    if (!last) return;
    of.textContent = `The nearest of ${last.of} pictures; the number is the cosine of the two embeddings.`;
    of.hidden = false;
  }

  async function look(item) {
    kinds.pick("a picture");
    wanted.set(item);
    await start();
  }

  const element = h("form.columns", { onsubmit: (event) => (event.preventDefault(), start()) },
    h("section.inputs", { "aria-label": "What to look for" },
      kinds,
      h("p.hint", {}, "Finds the pictures of your own folder that are nearest, instead of painting one."),
      wanted.element, said,
      h("div.fields", {}, h("label.field", {}, h("span", {}, "Pictures"), count)),
      h("div.go", {}, h("button.primary", { type: "submit" }, "Find")),
    ),
    h("section.outputs", { "aria-label": "Found pictures" }, progress.element, nothing, of, results),
  );
  return { element, look };
}
