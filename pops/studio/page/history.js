// What was made in this tab of the browser, the newest first, and which of it are favourites.

import { h, icon, radios } from "./dom.js";
import { compare } from "./viewer.js";
import { resultCard } from "./results.js";

const KEY = "history";
const MOST = 200; // results that are listed; favourites are the last to be left out
const BESIDE = 4; // that are compared at a time

const listeners = new Set();
let entries = restored();

/** Call `listener` whenever the list changes. */
export const onHistory = (listener) => listeners.add(listener);

/** The results, the newest first. */
export const madeItems = () => entries.map(({ item }) => item);

/** Put a result on the list. */
export function remember(item) {
  entries = [{ item, favourite: isFavourite(item) }, ...entries.filter((one) => one.item.id !== item.id)];
  if (entries.length > MOST) entries.splice(entries.findLastIndex((one) => !one.favourite), 1);
  changed();
}

/** A button that makes a result a favourite, and an ordinary one again. */
export function star(item) {
  const button = h("button.small.star", { type: "button", "data-star": item.id, title: "Favourite", "aria-label": "Favourite" }, icon("star"));
  button.setAttribute("aria-pressed", isFavourite(item));
  button.onclick = () => {
    if (!entries.some((one) => one.item.id === item.id)) remember(item);
    entries = entries.map((one) => (one.item.id === item.id ? { ...one, favourite: !one.favourite } : one));
    const pressed = isFavourite(item);
    document.querySelectorAll(`[data-star="${item.id}"]`).forEach((one) => one.setAttribute("aria-pressed", pressed));
    changed();
  };
  return button;
}

const isFavourite = (item) => entries.some((one) => one.item.id === item.id && one.favourite);

function changed() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    // The browser keeps nothing: the list lasts as long as the page.
  }
  listeners.forEach((listener) => listener());
}

/** The list as it was before the page was loaded again. */
function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

/** The tab. `actions` are those of every result. */
export function historyTab(actions) {
  const chosen = new Set(); // ids of results to compare
  const list = h("div.results");
  const nothing = h("p.hint.nothing");
  const beside = h("button", { type: "button", onclick: () => compare(madeItems().filter((item) => chosen.has(item.id)), actions) });
  const clear = h("button", { type: "button", onclick: () => ((entries = entries.filter((one) => one.favourite)), chosen.clear(), changed()) }, "Clear all but favourites");
  const cards = new Map(); // by id, so that what is there already is not drawn again
  let only = "all";

  const shown = () => entries.filter((one) => only === "all" || one.favourite).map((one) => one.item);

  function show() {
    const wanted = shown();
    for (const item of wanted) if (!cards.has(item.id)) cards.set(item.id, card(item));
    list.replaceChildren(...wanted.map((item) => cards.get(item.id)));
    nothing.hidden = wanted.length > 0;
    nothing.textContent = only === "all" ? "What you make is listed here." : "Results that you mark with the star are listed here.";
    clear.disabled = entries.every((one) => one.favourite);
    for (const id of chosen) if (!entries.some((one) => one.item.id === id)) chosen.delete(id);
    count();
  }

  function count() {
    beside.disabled = chosen.size < 2 || chosen.size > BESIDE;
    beside.textContent = chosen.size ? `Compare ${chosen.size}` : "Compare";
    beside.title = `Choose 2 to ${BESIDE} results`;
  }

  function card(item) {
    const box = h("input", { type: "checkbox" });
    box.onchange = () => (box.checked ? chosen.add(item.id) : chosen.delete(item.id), count());
    const made = resultCard(item, actions, shown);
    made.append(h("p.expression", { title: item.expression }, item.expression));
    made.querySelector(".actions").append(h("label.check.small", {}, box, "Compare"));
    return made;
  }

  const kinds = radios("Which results", ["all", "favourites"], "all", (name) => ((only = name), show()));
  onHistory(show);
  return h("div.history", {},
    h("div.actions.bar", {}, kinds, beside, clear),
    h("p.hint", {}, "The studio keeps results in its memory alone, until it ends or they become too many: download what you want to keep."),
    nothing,
    list,
  );
}
