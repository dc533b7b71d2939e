// Elements, icons, and the small things every part of the page uses.

/** An element: h("button.quiet", { onclick }, "text", child). Null children are left out. */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name in element && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const PATHS = {
  download: "M8 2v8m-3.5-3.5L8 10l3.5-3.5M3 13h10",
  plus: "M8 3v10M3 8h10",
  arrow: "M3 8h10m-4-4 4 4-4 4",
  back: "M13 8H3m4-4L3 8l4 4",
  close: "M4 4l8 8m0-8l-8 8",
  vary: "M2.5 8a5.5 5.5 0 0 1 9.6-3.6L13.5 6m0-3.5V6H10m3.5 2a5.5 5.5 0 0 1-9.6 3.6L2.5 10m0 3.5V10H6",
  use: "M6 3H3v10h3m1-5h7m-3-3 3 3-3 3",
  tree: "M2 4h4m-4 8h4M6 4c3 0 2 4 4 4s-1 4-4 4m4-4h4",
  theme: "M8 2a6 6 0 1 0 0 12 6 6 0 1 0 0-12v12M10 3v10M12 5v6",
  folder: "M2 4h4l1.5 2H14v7H2z",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 1 0 0-9m3.2 7.7 3.3 3.3",
  star: "M8 2l1.8 3.8 4.2.5-3.1 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1L2 6.3l4.2-.5z",
  numbers: "M3 5h10M3 8h10M3 11h6",
};

/** A line drawing of 16 pixels; it says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A name as people read it: without the ending of a file, its words apart. */
export const title = (name) => name.replace(/\.[^.]{1,11}$/, "").replace(/(?<=[a-z])-(?=[a-z])/g, " ");

/** Tell those who do not see the page what has happened. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Put `text` on the clipboard; the button says so for a moment. */
export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1200);
}

/** Save `content` under `name`, as a download. */
export function save(content, name, type = "application/json") {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/**
 * Ask for one of `groups`, [{ title, choices: [{ label, picture, value }] }], in a dialog.
 * Resolves to the value chosen, or undefined. `extra`: elements above the choices; they get the
 * function that ends the dialog with a value.
 */
export function choose(heading, groups, extra = () => []) {
  return new Promise((resolve) => {
    let chosen;
    const end = (value) => {
      chosen = value;
      dialog.close();
    };
    const sections = groups
      .filter((group) => group.choices.length)
      .map((group) =>
        h("section", {},
          h("h3", {}, group.title),
          h("div.choices", {}, group.choices.map((choice) => choiceButton(choice, end))),
        ),
      );
    const close = h("button.quiet.round", { type: "button", title: "Close", onclick: () => end() }, icon("close"));
    const dialog = h("dialog.sheet", { "aria-label": heading, onclose: () => (dialog.remove(), resolve(chosen)) },
      h("header", {}, h("h2", {}, heading), close),
      extra(end),
      sections,
    );
    dialog.addEventListener("click", (event) => event.target === dialog && end());
    document.body.append(dialog);
    dialog.showModal();
  });
}

function choiceButton({ label, picture, value }, end) {
  const shown = picture ? h("img", { src: picture, alt: "", loading: "lazy" }) : null;
  const kind = picture ? "button.choice.pictured" : "button.choice";
  return h(kind, { type: "button", onclick: () => end(value) }, shown, h("span", {}, label));
}

/** Buttons of which one is pressed, moved through with the arrow keys. */
export function radios(label, names, chosen, onchange) {
  const group = h("div.chips", { role: "radiogroup", "aria-label": label });
  const buttons = names.map((name) =>
    h("button.chip", { type: "button", role: "radio", onclick: () => pick(name) }, name),
  );
  const pick = (name, focus = false) => {
    buttons.forEach((button, at) => {
      button.setAttribute("aria-checked", names[at] === name);
      button.tabIndex = names[at] === name ? 0 : -1;
      if (focus && names[at] === name) button.focus();
    });
    onchange(name);
  };
  arrows(group, buttons, (at) => pick(names[at], true));
  group.append(...buttons);
  group.pick = pick;
  pick(chosen);
  return group;
}

/** Move among `buttons` with the arrow keys, Home and End; `go` gets the place. */
export function arrows(group, buttons, go) {
  group.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const last = buttons.length - 1;
    const to = { Home: 0, End: last }[event.key] ??
      (event.key in steps ? (at + steps[event.key] + buttons.length) % buttons.length : null);
    if (at < 0 || to === null) return;
    event.preventDefault();
    go(to);
  });
}
