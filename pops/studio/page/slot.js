// One input of an operator: drop a picture or an embedding, choose an example, or leave it empty.

import { addFile, examples } from "./store.js";
import { h, icon, say, title } from "./dom.js";

const ACCEPT = "image/*,.safetensors";

/** A slot; `value` is its item, or null. One of `many` shows no examples but those of its name. */
export async function slot({ name, examples: folder }, many = false) {
  const shown = h("div.shown");
  const file = h("input.unseen", { type: "file", accept: ACCEPT, tabIndex: -1, "aria-hidden": "true" });
  const zone = h("button.zone", { type: "button", onclick: () => file.click() }, shown);
  const empty = h("button.quiet.small", { type: "button", title: "Leave empty", onclick: () => set(null) }, icon("close"), h("span", {}, "Leave empty"));
  const error = h("p.error", { hidden: true, role: "alert" });
  const own = (item) => item.id.endsWith(`/${name}`);
  const all = (await examples())[folder];
  const others = many ? [] : all.filter((item) => !own(item));
  const picks = [...all.filter(own), ...others].map((item) => thumb(item, () => set(item)));
  const element = h("div.slot", { "data-slot": name },
    h("header", {}, h("h3", {}, title(name)), empty),
    zone,
    file,
    error,
    picks.length ? h("div.strip", { role: "group", "aria-label": `Examples for ${name}` }, picks) : null,
  );
  const self = { element, name, value: null, set, take };

  function set(item) {
    self.value = item;
    error.hidden = true;
    element.classList.toggle("empty", item === null);
    shown.replaceChildren(...(item ? picture(item, title(name)) : prompt()));
    zone.setAttribute("aria-label", item ? `${name}: ${title(item.name)}. Choose another file` : `${name}: empty. Choose a file`);
    empty.hidden = item === null;
  }

  /** Upload a file and take it as input. */
  async function take(given) {
    if (!given) return;
    element.classList.add("loading");
    try {
      set(await addFile(given));
      say(`${given.name} is in ${name}`);
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
    } finally {
      element.classList.remove("loading");
    }
  }

  file.onchange = () => take(file.files[0]).then(() => (file.value = ""));
  droppable(element, (files) => take(files[0]));
  set(null);
  return self;
}

/** An item in a slot; its caption is left out where it says no more than the slot's name. */
function picture(item, slotName) {
  const said = title(item.name) + (item.seed === null ? "" : `, seed ${item.seed}`);
  return [portrait(item), said === slotName ? null : h("span.caption", {}, said)].filter(Boolean);
}

const prompt = () => [icon("plus"), h("span", {}, "Drop a picture or an embedding"), h("small", {}, "or choose a file; empty is fine too")];

/** The picture of an item; an embedding without one is drawn as what it is. */
export function portrait(item) {
  if (item.picture) return h("img", { src: item.picture, alt: title(item.name) });
  return h("div.numbers", {}, icon("numbers"), h("span", {}, "embedding"));
}

/** A small picture to click. */
export function thumb(item, onclick) {
  return h("button.thumb", { type: "button", title: title(item.name), onclick },
    item.picture ? h("img", { src: item.picture, alt: title(item.name), loading: "lazy" }) : icon("numbers"),
  );
}

/** Let files be dropped on `element`. */
export function droppable(element, ondrop) {
  const over = (on) => (event) => {
    event.preventDefault();
    element.classList.toggle("over", on);
  };
  element.addEventListener("dragover", over(true));
  element.addEventListener("dragleave", over(false));
  element.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) ondrop([...event.dataTransfer.files]);
  });
}
