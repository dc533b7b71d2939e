// Compose: an expression, checked as it is written, and the tree that says the same.

import { addFile, examples, onStored, ownItems, ownNames, put } from "./store.js";
import { check, openComposition, saveComposition } from "./api.js";
import { choosePart, drawTree, levels, spell, wrap } from "./tree.js";
import { copy, h, icon, save, say } from "./dom.js";
import { download, fileName } from "./results.js";
import { progressStrip } from "./progress.js";
import { remember } from "./history.js";
import { settingsForm } from "./settings.js";
import { thumb } from "./slot.js";

const PATIENCE = 250; // milliseconds without a key before the expression is checked

/** The tab, with `open(expression)` to show one in it. `actions` are those of every part. */
export async function composeTab(stack, actions) {
  const items = new Map(); // what was made, by expression
  const shipped = Object.values(await examples()).flat();
  let told = { ok: false };
  let made; // the expression whose result can be downloaded
  let timer;
  let looking = Promise.resolve(); // at what was set last
  let checks = 0;

  const box = h("textarea.code", { rows: 3, spellcheck: false, autocapitalize: "off", id: "expression", "aria-describedby": "fault" });
  const fault = h("div.fault", { id: "fault", role: "status" });
  const settings = settingsForm(stack, { several: false });
  const progress = progressStrip();
  const make = h("button.primary", { type: "submit" }, "Make");
  const pictures = h("div.strip.wrapped", { role: "group", "aria-label": "Pictures to write into the expression" });
  const own = h("p.hint", { hidden: true });
  const tree = h("div.scroll.forest", { tabIndex: 0, role: "region", "aria-label": "The tree of the composition" });
  const known = h("p.hint");
  const downloads = h("p.downloads");
  const file = h("input.unseen", { type: "file", accept: ".json", tabIndex: -1, "aria-hidden": "true" });
  const files = h("input.unseen", { type: "file", accept: "image/*,.safetensors", multiple: true, tabIndex: -1, "aria-hidden": "true" });

  const find = (name) => ownItems().find((item) => item.name === name) ?? shipped.find((item) => item.name === name);

  async function look() {
    const mine = (checks += 1);
    const found = await attempt(() => check(box.value, ownNames(), settings.read()));
    if (mine !== checks || !found) return;
    told = found;
    box.setAttribute("aria-invalid", !told.ok);
    fault.replaceChildren(...(told.ok ? [] : explain(told)));
    make.disabled = tree.inert = !told.ok;
    if (!told.ok) return;
    if (told.expression !== made) forget();
    own.hidden = told.own.length === 0;
    own.textContent = told.own.length ? `What is copied names ${told.own.join(", ")}: run it in the folder where that is.` : "";
    draw();
    tree.scrollLeft = tree.scrollWidth; // to the result, where all does not fit
  }

  function draw() {
    tree.style.setProperty("--levels", levels(told.tree));
    tree.replaceChildren(drawTree(stack, told.tree, items, find, change, actions));
  }

  function forget() {
    made = undefined;
    known.textContent = "";
    downloads.replaceChildren();
  }

  function write(text) {
    tree.inert = true; // until it is drawn again, a click would change what it was
    box.value = text;
    fit();
    return look();
  }

  /** Take what the tree was changed to; a number that was moved in what is made is made at once. */
  async function change(text, again) {
    const ready = again && made !== undefined;
    await write(text);
    if (ready && told.ok) await start();
  }

  /** Run something; its error is told beside the expression. */
  async function attempt(work) {
    try {
      return await work();
    } catch (problem) {
      fault.replaceChildren(h("p.error", {}, problem.message));
      return undefined;
    }
  }

  const fit = () => (box.rows = Math.min(10, Math.max(3, box.value.split("\n").length, Math.ceil(box.value.length / 48))));

  function insert(item) {
    box.setRangeText(`'${item.name}'`, box.selectionStart, box.selectionEnd, "end");
    box.focus();
    box.oninput();
  }

  function showPictures() {
    pictures.replaceChildren(...[...ownItems(), ...shipped].map((item) => thumb(item, () => insert(item))));
  }

  async function start() {
    clearTimeout(timer);
    await look();
    if (!told.ok) return box.focus();
    items.clear();
    draw();
    forget();
    const { expression } = told;
    let parts = 0;
    const last = await progress.doJob("compose", [box.value, ownNames(), settings.read()], (event) => {
      parts = event.of;
      items.set(event.expression, event.item);
      draw();
    });
    if (!last) return;
    remember(last.result);
    made = expression;
    known.textContent = remembered(last.sampled.length, parts);
    const name = fileName({ ...last.result, expression });
    downloads.replaceChildren(...[
      download(last.result.picture, `${name}.png`, "Picture"),
      download(last.result.embedding, `${name}.safetensors`, "Embedding"),
      download(last.figure.picture, `${name}_tree.jpg`, "Tree"),
    ].filter(Boolean));
  }

  box.oninput = () => {
    tree.inert = true;
    fit();
    clearTimeout(timer);
    timer = setTimeout(look, PATIENCE);
  };
  settings.element.oninput = () => (looking = look());
  files.onchange = async () => {
    for (const one of files.files) await attempt(() => addFile(one));
    files.value = "";
    look();
  };
  file.onchange = () => attempt(async () => {
    const opened = await openComposition(file.files[0]);
    file.value = "";
    for (const [name, item] of Object.entries(opened.inputs)) put({ ...item, name });
    settings.write(opened.settings, opened.pictures);
    await write(opened.expression);
    say("The composition is open");
  });
  const keep = () => attempt(async () => {
    const content = await saveComposition(box.value, ownNames(), settings.read());
    save(JSON.stringify(content), "composition.pops.json");
  });
  const copier = (label, what) => h("button.small", { type: "button", onclick: async ({ target }) => (await looking, told.ok && copy(what(), target)) }, label);
  const begin = async () => {
    const node = await choosePart(stack);
    if (node) write(spell(node));
  };

  onStored(showPictures);
  showPictures();
  await write(startExpression(stack));
  const element = h("form.columns.compose", { onsubmit: (event) => (event.preventDefault(), start()) },
    h("section.inputs", { "aria-label": "The composition" },
      h("label.heading", { htmlFor: "expression" }, "Expression"),
      h("p.hint", {}, "Operators within operators. Pictures are named in quotes, _ leaves an input empty, text('a red mug') is made from words, mean(a, b, 0.3) mixes two, strength=0.6 stops on the way."),
      box, fault,
      h("div.actions", {},
        copier("Copy expression", () => told.expression),
        copier("Copy as Python", () => told.python),
        copier("Copy as command", () => told.command),
        h("button.small", { type: "button", onclick: keep }, "Save"),
        h("button.small", { type: "button", onclick: () => file.click() }, "Open"),
        h("button.small", { type: "button", onclick: begin }, "Start over"),
      ),
      own,
      h("div.actions", {}, h("span.heading", {}, "Pictures"), h("button.small", { type: "button", onclick: () => files.click() }, icon("plus"), "Add files")),
      pictures, file, files, settings.element, h("div.go", {}, make),
    ),
    h("section.outputs", { "aria-label": "The tree" }, progress.element, tree, known, downloads),
  );
  return { element, open: write };
}

/** A composition that shows what compositions are, of operators that this stack has. */
function startExpression(stack) {
  const has = (name) => stack.operators.some((one) => one.name === name);
  if (has("scene") && has("texturing")) return "scene(texturing('mug.png', 'wood.png'), 'beach.png')";
  if (has("texturing")) return "texturing(texturing('mug.png', 'wood.png'), 'zebra.png')";
  return spell(wrap(stack, stack.operators[0].name));
}

/** How much of a composition had to be made. */
function remembered(fresh, parts) {
  if (fresh === parts) return `All ${parts} parts were made.`;
  if (fresh === 0) return `All ${parts} parts were known already.`;
  return `${fresh} of ${parts} parts were made; the others were known already.`;
}

/** What is wrong, under the place where it is. */
function explain({ error, line, column }) {
  const said = h("p.error", {}, error);
  if (line === undefined) return [said];
  const start = Math.max(0, column - 40);
  const shown = line.slice(start, column + 40);
  return [h("pre", { "aria-hidden": "true" }, `${shown}\n${" ".repeat(column - start)}^`), said];
}
