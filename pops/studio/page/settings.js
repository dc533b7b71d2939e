// How operators are sampled and results are drawn: a form with the rare things folded away.

import { addFile } from "./store.js";
import { h, title } from "./dom.js";
import { portrait } from "./slot.js";

/** `several`: whether there can be more than one seed. `read()` gives what the studio takes. */
export function settingsForm(stack, { several = true } = {}) {
  const seeds = h("input", { type: "text", value: several ? "18, 42" : "18", inputMode: "numeric", autocomplete: "off" });
  const chosen = () => numbers(seeds.value, stack.limits.results);
  const count = h("input", { type: "number", value: 2, min: 1, max: stack.limits.results });
  count.onchange = () => (seeds.value = resized(chosen(), +count.value, stack.limits.results).join(", "));
  seeds.onchange = () => (count.value = chosen().length);
  const guidance = number("own", 0, 100, "any");
  const steps = number("25", 1, 250);
  const drawSteps = number("own", 1, 250);
  const drawGuidance = number("own", 0, 100, "any");
  const drawSeed = h("input", { type: "number", value: 0, min: 0 });
  const sampler = h("select", {}, stack.samplers.map((name) => h("option", { value: name }, name)));
  const renderer = h("select", {},
    stack.renderers.map(({ name, says }) => h("option", { value: name }, says ? `${name} (${says})` : name)),
  );
  const asked = rendererFields(stack);
  const takes = () => stack.renderers.find(({ name }) => name === renderer.value)?.takes ?? [];
  renderer.onchange = () => asked.show(takes());
  asked.show(takes());
  const element = h("div.settings", {},
    h("div.fields", {},
      several ? field("Results", count, "How many") : null,
      field(several ? "Seeds" : "Seed", seeds, "The same seed gives the same result; 1..4 are four of them"),
      field("Guidance", guidance, "How strongly the inputs are followed"),
    ),
    h("details", {},
      h("summary", {}, "More settings"),
      h("div.fields", {},
        field("Renderer", renderer, "What draws the picture", "wide"),
        asked.elements,
        field("Steps", steps, "Of the operator"),
        field("Sampler", sampler, "Of the operator"),
        field("Drawing steps", drawSteps, "Of the renderer"),
        field("Drawing guidance", drawGuidance, "Of the renderer"),
        field("Drawing seed", drawSeed, "Another drawing of the same result"),
      ),
    ),
  );
  const read = () => ({
    seeds: chosen().slice(0, several ? undefined : 1),
    guidance: optional(guidance),
    steps: optional(steps) ?? 25,
    sampler: sampler.value,
    renderer: renderer.value,
    render_steps: optional(drawSteps),
    render_guidance: optional(drawGuidance),
    render_seeds: [Math.max(0, Math.trunc(+drawSeed.value || 0))],
    ...asked.read(takes()),
  });
  /** `pictures`: by name, the items of the pictures among the settings. */
  const write = (settings, pictures = {}) => {
    seeds.value = settings.seeds.join(", ");
    count.value = settings.seeds.length;
    guidance.value = settings.guidance ?? "";
    steps.value = settings.steps;
    sampler.value = settings.sampler;
    drawSteps.value = settings.render_steps ?? "";
    drawGuidance.value = settings.render_guidance ?? "";
    drawSeed.value = settings.render_seeds[0];
    if (stack.renderers.some(({ name }) => name === settings.renderer)) renderer.value = settings.renderer;
    asked.write(settings, pictures);
    asked.show(takes());
  };
  /** Show what `guidance` is when it is not given. */
  const own = (value) => (guidance.placeholder = `${value}`);
  return { element, read, write, own };
}

/** What only some renderers take, shown for those that do. */
function rendererFields(stack) {
  const preset = h("select", {}, h("option", { value: "" }, "none"),
    stack.presets.map(({ name, steps, size }) => h("option", { value: name }, `${name} (${steps} steps, ${size} pixels)`)));
  const prompt = h("input", { type: "text", maxLength: 500, placeholder: "none" });
  const scale = number("1", 0, 10, "any");
  const strength = number("0.5", 0, 1, "any");
  const init = pictureField("Start from", "The picture that is changed");
  const mask = pictureField("Mask", "White where the picture is changed");
  const fields = {
    preset: [field("Preset", preset, "Of a checkpoint of SDXL that takes few steps", "wide"), () => preset.value || null],
    prompt: [field("Prompt", prompt, "A text that the picture follows, too", "wide"), () => prompt.value.trim() || null],
    ip_adapter_scale: [field("Weight", scale, "Of the embedding beside the prompt"), () => optional(scale)],
    init: [init.element, () => init.value?.id ?? null],
    init_strength: [field("Change", strength, "How much of the picture is changed, up to 1"), () => optional(strength)],
    mask: [mask.element, () => mask.value?.id ?? null],
  };
  const show = (names) => Object.entries(fields).forEach(([name, [element]]) => (element.hidden = !names.includes(name)));
  const read = (names) => Object.fromEntries(names.filter((name) => name in fields).map((name) => [name, fields[name][1]()]));
  const write = (settings, pictures) => {
    init.set(pictures.init ?? null);
    mask.set(pictures.mask ?? null);
    preset.value = settings.preset ?? "";
    prompt.value = settings.prompt ?? "";
    scale.value = settings.ip_adapter_scale ?? "";
    strength.value = settings.init_strength ?? "";
  };
  return { elements: Object.values(fields).map(([element]) => element), show, read, write };
}

/** A picture among the settings; `value` is its item, or null. */
function pictureField(name, says) {
  const file = h("input", { type: "file", accept: "image/*" });
  const shown = h("div.chosen");
  const self = { element: h("div.picture", {}, field(name, file, says), shown), value: null, set };

  function show(item) {
    self.value = item;
    shown.replaceChildren(...(item ? [portrait(item)] : []));
  }
  function set(item) {
    file.value = ""; // it no longer names what is shown
    show(item);
  }
  file.onchange = async () => {
    show(null);
    if (!file.files[0]) return;
    try {
      show(await addFile(file.files[0]));
      file.dispatchEvent(new Event("input", { bubbles: true })); // the settings are others only now
    } catch (problem) {
      shown.replaceChildren(h("p.error", { role: "alert" }, `${title(name)}: ${problem.message}`));
    }
  };
  return self;
}

/** A new seed, unlike those people type. */
export const newSeed = () => 1000 + Math.floor(Math.random() * 1e6);

/** The whole numbers in a text, of which `1..4` are four; 18 if there are none. */
function numbers(text, most) {
  const found = [...text.matchAll(/(\d{1,15})(?:\s*\.\.\s*(\d{1,15}))?/g)].flatMap(([, first, last = first]) => {
    const count = Math.min(Math.abs(last - first), most) + 1; // one too many is still refused, in words
    return Array.from({ length: count }, (_, at) => +first + (+last < +first ? -at : at));
  });
  return found.length ? found : [18];
}

/** `seeds` made `count` long: cut, or gone on from the last. */
function resized(seeds, count, most) {
  const length = Math.min(Math.max(Math.trunc(count) || 1, 1), most);
  const longer = [...seeds];
  while (longer.length < length) longer.push(Math.max(...longer) + 1);
  return longer.slice(0, length);
}

const optional = (input) => (input.value === "" ? null : +input.value);

const number = (placeholder, min, max, step = 1) => h("input", { type: "number", placeholder, min, max, step });

const field = (name, input, says, kind = "") => h(`label.field${kind && `.${kind}`}`, { title: says }, h("span", {}, name), input);
