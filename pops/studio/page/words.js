// The words of operators that take a text: those that the stack knows, or examples, to click.

import { h } from "./dom.js";

/** Buttons of an operator's words; `pick` gets the one clicked. `chosen()`: those in use now. */
export function wordButtons(operator, pick, chosen) {
  const said = operator.words_known ? "Words it knows" : "For example";
  const buttons = operator.words.map((word) => h("button.chip.small", { type: "button", onclick: () => (pick(word), show()) }, word));
  const list = h("div.chips", { role: "group", "aria-label": said }, buttons);
  const show = () => {
    const used = chosen();
    buttons.forEach((button) => button.setAttribute("aria-pressed", used.includes(button.textContent)));
  };
  show();
  return { element: h("div.known", {}, h("p.hint", {}, said), list), show };
}

/** The texts in a box, one a line. */
export const lines = (box) => box.value.split("\n").map((line) => line.trim()).filter(Boolean);
