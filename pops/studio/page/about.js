// About: what is loaded, where it runs, whose it is, and how good it was measured to be.

import { h } from "./dom.js";

export async function aboutTab(stack) {
  const { facts, parts, quality } = stack.about;
  return h("div.about", {},
    h("section", {},
      h("h2", {}, "This stack"),
      h("dl", {}, Object.entries(facts).flatMap(([name, said]) => [h("dt", {}, name), h("dd", {}, said)])),
    ),
    h("section", {},
      h("h2", {}, "Its parts"),
      table(["part", "from", "size", "licence"], parts.map((part) => [part.part, part.from, part.size, part.licence])),
    ),
    h("section", {},
      h("h2", {}, "How good it is"),
      quality.length ? quality.map(measured) : h("p.hint", {}, "This stack brings no measurements."),
    ),
    h("section", {},
      h("h2", {}, "What it does with your pictures"),
      h("p", {}, "They stay in the memory of the machine that runs the studio, which keeps a bounded amount, and are gone when the studio ends. The page calls nobody else, and nothing is counted or sent anywhere."),
    ),
  );
}

function measured({ operator, rows }) {
  const used = [1, 2, 3].filter((at) => rows.some((row) => row[at] !== null));
  const heads = ["", "the operator", "a picture of the right answer", "mean of the inputs"];
  return h("div", {}, h("h3", {}, operator),
    table([operator === "" ? "" : "share of unseen combinations", ...used.map((at) => heads[at])],
      rows.map((row) => [row[0], ...used.map((at) => percent(row[at]))])),
  );
}

const percent = (share) => (share === null ? "" : `${Math.round(share * 100)}%`);

function table(heads, rows) {
  return h("div.scroll", {},
    h("table.plain", {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h(at ? "td" : "th", {}, cell))))),
    ),
  );
}
