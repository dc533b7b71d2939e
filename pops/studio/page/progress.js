// A job on its way: how far it is, and a way to end it.

import { run } from "./api.js";
import { h, say } from "./dom.js";

/** A strip that shows the job at work, or why the last one failed. */
export function progressStrip() {
  const words = h("span.words", {}, "");
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const cancel = h("button.quiet", { type: "button" }, "Cancel");
  const strip = h("div.progress", { hidden: true }, bar, words, cancel);
  const warnings = h("div.warnings", { role: "status" });
  const error = h("p.error", { hidden: true, role: "alert" });
  let current = null;

  /** Do a job; `onevent` hears all but its progress. Undefined if it failed or was cancelled. */
  async function doJob(name, data, onevent) {
    current?.abort();
    const mine = (current = new AbortController());
    cancel.onclick = () => mine.abort();
    error.hidden = true;
    warnings.replaceChildren();
    show({ state: "sent" });
    try {
      const last = await run(name, data, (event) => {
        if (event.state === "warning") {
          warnings.append(h("p.warning", {}, event.warning));
          return;
        }
        show(event);
        if (["result", "part", "lost"].includes(event.state)) onevent(event);
      }, mine.signal);
      say("Done");
      return last;
    } catch (problem) {
      if (problem.name === "AbortError") say("Cancelled");
      else fail(problem.message);
      return undefined;
    } finally {
      if (current === mine) {
        current = null;
        strip.hidden = true;
      }
    }
  }

  function show(event) {
    if (strip.hidden) {
      strip.hidden = false;
      strip.scrollIntoView({ block: "nearest" });
    }
    strip.dataset.state = event.state;
    if (event.made) counted = `${event.made} of ${event.of} done`;
    if (event.state === "sent") counted = "";
    const { text, share } = told(event);
    words.textContent = [text, counted].filter(Boolean).join(" \u00b7 ");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  }
  let counted = "";

  function fail(message) {
    error.textContent = message;
    error.hidden = false;
  }

  return { element: h("div.job", {}, strip, warnings, error), doJob, fail, get busy() { return current !== null; } };
}

function told(event) {
  if (event.state === "waiting") {
    const before = ["Your job is next", "One job before yours"][event.ahead] ?? `${event.ahead} jobs before yours`;
    return { text: before, share: null };
  }
  if (event.state !== "working" || event.what === "loading") return { text: "Getting ready", share: null };
  return { text: `${event.what}: step ${event.done} of ${event.total}`, share: event.done / event.total };
}
