// The studio's HTTP interface: quick requests, and jobs that tell how far they are.

const ME = { "x-client": crypto.getRandomValues(new Uint32Array(2)).join("-") }; // to take turns with others

let stack;

/** What this studio has: operators, examples, limits, facts. Asked for once. */
export const getStack = () => (stack ??= ask("/stack"));

/** Add a file under `name`; the item that it became. Throws with one friendly line. */
export async function upload(file, name) {
  const { limits } = await getStack();
  if (file.size > limits.upload_bytes) {
    const most = Math.round(limits.upload_bytes / 2 ** 20);
    throw new Error(`${name} is too large: at most ${most} MB are taken`);
  }
  return ask("/inputs", { method: "POST", body: file, headers: { "x-name": encodeURIComponent(name) } });
}

/** What is wrong with an expression, or its tree and other spellings. */
export const check = (expression, inputs, settings) => post("/check", { expression, inputs, settings });

/** The content of the file of a composition. */
export const saveComposition = (expression, inputs, settings) =>
  post("/compositions/save", { expression, inputs, settings });

/** The composition that a file holds. */
export const openComposition = (file) => ask("/compositions/open", { method: "POST", body: file });

/** Do a job; `onevent` hears of it, the last piece is returned. Aborting `signal` cancels it. */
export async function run(name, data, onevent, signal) {
  const { event_id: id } = await post(`/gradio_api/call/${name}`, { data }, signal, ME);
  const answer = await fetch(`/gradio_api/call/${name}/${id}`, { signal });
  if (!answer.ok) throw new Error("the studio did not take the job: try again");
  let last;
  for await (const { kind, value } of events(answer.body)) {
    if (kind === "error") throw new Error(value?.error ?? "the studio could not do that");
    if (kind !== "generating") continue;
    last = value[0];
    onevent(last);
  }
  if (last?.state !== "done") throw new Error("the connection to the studio broke off: try again");
  return last;
}

/** Server-sent events as { kind, value }. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const one of whole) {
      const kind = /^event: (.*)$/m.exec(one)?.[1];
      const data = /^data: (.*)$/m.exec(one)?.[1];
      if (kind && data) yield { kind, value: JSON.parse(data) };
    }
  }
}

function post(path, value, signal, more = {}) {
  const headers = { "content-type": "application/json", ...more };
  return ask(path, { method: "POST", body: JSON.stringify(value), headers, signal });
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the studio does not answer: is it still running?");
  }
  const value = await answer.json().catch(() => null);
  if (answer.ok) return value;
  throw new Error(value?.error ?? "the studio could not do that");
}
