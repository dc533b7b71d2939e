// Pictures made large: one after the other, or side by side.

import { h, icon } from "./dom.js";
import { caption, resultActions } from "./results.js";

const SMALL = 160; // pixels up to which a picture is enlarged without smoothing

/** Show `items` large, one at a time, from `first`; the arrow keys go on. */
export function view(items, first, actions) {
  let at = Math.max(0, items.findIndex((item) => item.id === first.id));
  const stage = h("div.stage");
  const place = h("span.hint");
  const step = (by, name, drawn) =>
    h("button.quiet.round", { type: "button", title: name, "aria-label": name, onclick: () => go(at + by) }, icon(drawn));
  const back = step(-1, "The one before", "back");
  const on = step(1, "The next one", "arrow");

  function go(to) {
    at = (to + items.length) % items.length;
    stage.replaceChildren(large(items[at], actions, () => dialog.close()));
    place.textContent = `${at + 1} of ${items.length}`;
  }

  const moves = items.length > 1 ? [back, place, on] : [];
  const dialog = sheet("Picture", moves, stage);
  dialog.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined || items.length < 2) return;
    event.preventDefault();
    go(to);
  });
  go(at);
  open(dialog);
}

/** Show `items` side by side. */
export function compare(items, actions) {
  const dialog = sheet("Side by side", [], h("div.beside", {}, items.map((item) => large(item, actions, () => dialog.close()))));
  open(dialog);
}

/** The picture of an item as a button that makes it large; `among()` gives the items to go through. */
export function enlargeable(item, actions, among = () => [item]) {
  const words = caption(item);
  const shown = h("img", { src: item.picture, alt: item.expression });
  shown.onerror = () => shown.replaceWith(h("span.pending", {}, "The studio no longer has this picture"));
  return h("button.enlarge", { type: "button", title: "Make larger", "aria-label": `Make larger: ${words}`, onclick: () => view(among(), item, actions) }, shown);
}

function large(item, actions, close) {
  const shown = h("img", { src: item.picture, alt: item.expression });
  shown.onload = () => shown.classList.toggle("small-picture", Math.max(shown.naturalWidth, shown.naturalHeight) <= SMALL);
  const ending = Object.fromEntries(Object.entries(actions).map(([name, act]) => [name, (one) => (close(), act(one))]));
  return h("figure.large", { "data-result": item.id },
    shown,
    h("figcaption", { "aria-live": "polite" }, h("code", {}, item.found ?? item.expression), h("span", {}, caption(item))),
    resultActions(item, ending),
  );
}

function sheet(name, moves, content) {
  const close = h("button.quiet.round", { type: "button", title: "Close", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  const dialog = h("dialog.viewer", { "aria-label": name, tabIndex: -1, onclose: () => dialog.remove() },
    h("header", {}, h("span.moves", {}, moves), close),
    content,
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return dialog;
}

function open(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  dialog.focus();
}
