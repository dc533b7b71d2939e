// The page: its tabs, its theme, and the parts put together.

import { aboutTab } from "./about.js";
import { applyTab } from "./apply.js";
import { arrows, h, icon } from "./dom.js";
import { chooseSlot } from "./results.js";
import { composeTab } from "./compose.js";
import { findTab } from "./find.js";
import { getStack } from "./api.js";
import { gridTab } from "./grid.js";
import { historyTab } from "./history.js";

const THEMES = ["auto", "light", "dark"];
const theme = document.getElementById("theme");

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  theme.setAttribute("aria-label", `Colours: ${name}. Change`);
  theme.title = `Colours: ${name}`;
}

theme.append(icon("theme"));
theme.onclick = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]);
setTheme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");

async function open() {
  const stack = await getStack();
  const main = document.getElementById("content");
  const bar = document.getElementById("tabs");
  if (stack.operators.length === 0) throw new Error("this stack has no operators: train one, or name another stack");
  const actions = { use, compose: (item) => (composing.open(item.expression), show("compose", true)) };
  if (stack.finds) actions.find = (item) => (show("find", true), finding.look(item));
  const composing = await composeTab(stack, actions);
  const applying = await applyTab(stack, actions);
  const gridding = await gridTab(stack, actions);
  const finding = stack.finds ? await findTab(stack, actions) : null;
  const parts = {
    apply: applying.element,
    compose: composing.element,
    grid: gridding.element,
    ...(finding && { find: finding.element }),
    history: historyTab(actions),
    about: await aboutTab(stack),
  };
  const names = Object.keys(parts);
  const tabs = names.map((name) =>
    h("button.tab", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => show(name) }, name),
  );
  const panels = names.map((name) =>
    h("div.panel", { id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}` }, parts[name]),
  );

  /** Ask where a result should go, and put it there. */
  async function use(item) {
    const sides = ["rows", "columns"].map((label, side) => ({ label, value: { side } }));
    const to = await chooseSlot(stack, [{ title: "a grid", choices: sides }]);
    if (!to) return;
    show(to.operator ? "apply" : "grid");
    if (to.operator) await applying.take(to, item);
    else gridding.take(to.side, item);
  }

  function show(name, focus = false) {
    names.forEach((one, at) => {
      tabs[at].setAttribute("aria-selected", one === name);
      tabs[at].tabIndex = one === name ? 0 : -1;
      panels[at].hidden = one !== name;
      if (focus && one === name) tabs[at].focus();
    });
    history.replaceState(null, "", `#${name}`);
  }

  arrows(bar, tabs, (at) => show(names[at], true));
  bar.replaceChildren(...tabs);
  main.replaceChildren(...panels);
  show(names.includes(location.hash.slice(1)) ? location.hash.slice(1) : names[0]);
  document.documentElement.dataset.ready = "yes";
}

open().catch((problem) => {
  document.getElementById("opening").replaceWith(h("p.error", {}, problem.message));
});
