// Grid: several pictures on both sides, every row with every column.

import { addFile, examples } from "./store.js";
import { download } from "./results.js";
import { droppable, portrait, thumb } from "./slot.js";
import { enlargeable } from "./viewer.js";
import { h, icon, radios, title } from "./dom.js";
import { progressStrip } from "./progress.js";
import { remember } from "./history.js";
import { settingsForm } from "./settings.js";
import { lines, wordButtons } from "./words.js";

const STARTS = { objects: ["mug", "rabbit", "car"], textures: ["wood", "gold", "zebra"], backgrounds: ["beach", "night", "snow"] };
const MOST_WORDS = 3; // that a grid starts with

/** The tab, with `take(at, item)` to put an item at one of its sides. `actions` are those of every cell. */
export async function gridTab(stack, actions) {
  let operator;
  let sides = [];
  let slots = [];
  const says = h("p.hint");
  const row = h("div.sides");
  const words = h("textarea", { rows: 4, "aria-label": "Instructions, one a line" });
  const mean = h("input", { type: "checkbox" });
  const meanLabel = h("label.check", {}, mean, "Show the mean of both pictures beside it");
  const settings = settingsForm(stack, { several: false });
  const progress = progressStrip();
  const make = h("button.primary", { type: "submit" }, "Make the grid");
  const output = h("div.tables");
  const nothing = h("p.hint.nothing", {}, "The grid appears here, cell by cell.");

  async function pick(name) {
    operator = stack.operators.find((one) => one.name === name);
    says.textContent = operator.says;
    settings.own(operator.guidance);
    const used = sidesOf(operator, stack.examples);
    sides = await Promise.all(used.map((one, at) => side(one, at ? "Columns" : "Rows", count)));
    slots = used.map((one) => one.name);
    row.replaceChildren(...sides.map((one) => one.element), ...(operator.takes_text ? [writing()] : []));
    meanLabel.hidden = operator.takes_text;
    if (operator.takes_text) mean.checked = false;
    count();
  }

  /** The side of an operator's text: a box, and its words to put in or take out. */
  function writing() {
    if (!words.value) words.value = operator.words.slice(0, MOST_WORDS).join("\n");
    const known = wordButtons(operator, (word) => {
      const now = lines(words);
      words.value = (now.includes(word) ? now.filter((one) => one !== word) : [...now, word]).join("\n");
      count();
    }, () => lines(words));
    words.oninput = () => (known.show(), count());
    return h("div.side", { "data-side": "columns" }, h("header", {}, h("h3", {}, "Columns: text, one a line")), words, known.element);
  }

  const columns = () => (operator.takes_text ? lines(words) : sides[1].items.map((item) => item.id));

  function count() {
    if (sides.length === 0) return;
    const [n, m] = [sides[0].items.length, columns().length];
    const most = stack.limits.cells;
    make.textContent = `Make the grid of ${n} \u00d7 ${m}`;
    make.disabled = n * m === 0 || n * m > most;
    make.title = n * m > most ? `At most ${most} cells` : "";
  }
  async function start() {
    nothing.hidden = true;
    const heads = { rows: [...sides[0].items], columns: operator.takes_text ? lines(words) : [...sides[1].items] };
    const tables = Object.fromEntries([operator.name, ...(mean.checked ? ["mean"] : [])].map((name) => [name, table(name, heads, actions)]));
    output.replaceChildren(...Object.values(tables).map((one) => one.element));
    const data = [operator.name, heads.rows.map((item) => item.id), columns(), mean.checked, settings.read(), slots];
    const last = await progress.doJob("grid", data, (event) => {
      const { put, lose } = tables[event.table];
      if (event.state === "lost") return lose(event.row, event.column, event.error);
      remember(event.result);
      put(event.row, event.column, event.result);
    });
    for (const [name, figure] of Object.entries(last?.figures ?? {})) {
      tables[name].element.append(download(figure.picture, `${name}_grid.jpg`, "The figure"));
    }
  }

  const names = stack.operators.map((one) => one.name);
  const operators = radios("Operator", names, names[0], pick);
  const take = (at, item) => (sides[at] ?? sides[0]).add(item);
  const element = h("form.columns", { onsubmit: (event) => (event.preventDefault(), start()) },
    h("section.inputs", { "aria-label": "Inputs" }, operators, says, row, meanLabel, settings.element, h("div.go", {}, make)),
    h("section.outputs", { "aria-label": "Grid" }, progress.element, nothing, output),
  );
  return { element, take };
}

/** The slots of both sides: of many, the first ones that have a picture of their own. */
function sidesOf(operator, shipped) {
  const wanted = operator.takes_text ? 1 : 2;
  const own = operator.slots.filter((one) => shipped[one.examples].some((item) => item.id.endsWith(`/${one.name}`)));
  return (operator.optional && own.length >= wanted ? own : operator.slots).slice(0, wanted);
}

/** The pictures of one side, chosen from examples, files and folders. */
async function side({ name, examples: folder }, where, onchange) {
  const shipped = (await examples())[folder];
  const list = h("div.strip.wrapped");
  const error = h("p.error", { hidden: true, role: "alert" });
  const files = h("input.unseen", { type: "file", multiple: true, accept: "image/*,.safetensors", tabIndex: -1, "aria-hidden": "true" });
  const folders = h("input.unseen", { type: "file", webkitdirectory: true, tabIndex: -1, "aria-hidden": "true" });
  const self = { items: [], add: (item) => add(item) };

  function show() {
    list.replaceChildren(...self.items.map((item) => {
      const button = thumb(item, () => remove(item));
      button.title = `${title(item.name)}: take out`;
      button.append(h("span.off", {}, icon("close")));
      return button;
    }));
    onchange();
  }
  const remove = (item) => ((self.items = self.items.filter((one) => one !== item)), show());
  const add = (item) => self.items.includes(item) || (self.items.push(item), show());

  async function take(given) {
    const failed = [];
    for (const file of given.filter((one) => !one.name.startsWith("."))) {
      try {
        add(await addFile(file));
      } catch (problem) {
        failed.push(problem.message);
      }
    }
    error.textContent = failed.join("\n");
    error.hidden = failed.length === 0;
  }
  for (const input of [files, folders]) input.onchange = () => take([...input.files]).then(() => (input.value = ""));

  const names = STARTS[folder] ?? [];
  self.items = shipped.filter((item) => [...names, title(name)].includes(title(item.name)));
  if (self.items.length === 0) self.items = shipped.slice(0, 3);
  self.element = h("div.side", { "data-side": where.toLowerCase() },
    h("header", {}, h("h3", {}, `${where}: ${title(name)}`),
      h("button.quiet.small", { type: "button", onclick: () => ((self.items = []), show()) }, "Clear"),
    ),
    list,
    h("div.actions", {},
      h("button.small", { type: "button", onclick: () => files.click() }, icon("plus"), "Add files"),
      h("button.small", { type: "button", onclick: () => folders.click() }, icon("folder"), "Add a folder"),
    ),
    files, folders, error,
    h("div.strip", { role: "group", "aria-label": `Examples for ${name}` }, shipped.map((item) => thumb(item, () => add(item)))),
  );
  droppable(self.element, take);
  show();
  return self;
}

/** A table that fills as results come. */
function table(name, { rows, columns }, actions) {
  const head = (one) => (typeof one === "string" ? one : [portrait(one), h("span", {}, title(one.name))]);
  const cells = rows.map(() => columns.map(() => h("td", {}, h("div.cell"))));
  const element = h("figure.table", { "data-table": name },
    h("figcaption", {}, name),
    h("div.scroll", { tabIndex: 0, role: "region", "aria-label": `${name}, table` },
      h("table", {},
        h("thead", {}, h("tr", {}, h("td"), columns.map((one) => h("th", { scope: "col" }, head(one))))),
        h("tbody", {}, rows.map((one, at) => h("tr", {}, h("th", { scope: "row" }, head(one)), cells[at]))),
      ),
    ),
  );
  const made = [];
  const put = (row, column, item) => {
    made.push(item);
    cells[row][column].firstChild.replaceChildren(enlargeable(item, actions, () => made));
  };
  const lose = (row, column, why) => cells[row][column].firstChild.replaceChildren(h("span.lost", { title: why }, "not finite"));
  return { element, put, lose };
}
