// A form that starts a session. What the form says is a %bai line, made by the kernel.

import { button, copying, field, fill, h, name, problem, say, size } from "./dom.js";

const CHECK_AFTER = 250; // ms without a change after which the kernel is asked for the line
const PHASES = ["queued", "preparing", "running"];

export function launcher(desk) {
  let choice = null;
  let offer = null;
  let image = "";
  let began = 0;
  let isStarting = false;
  const amounts = new Map(); // slot → {input, output, slot}
  const touched = new Set(); // slots that a person has set

  // -- image ------------------------------------------------------------------------------------

  const find = h("input", { type: "search", placeholder: "python, torch, 3.11 …", oninput: () => showImages() });
  const images = h("div.bai-images", { role: "radiogroup", "aria-label": "Image" });
  const group = name("image");

  function showImages() {
    const wanted = find.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const found = (choice?.images ?? []).filter((each) => {
      const text = `${each.reference} ${each.aliases.join(" ")} ${each.about}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    fill(
      images,
      found.map((each) => {
        const pick = h("input", {
          type: "radio",
          name: group,
          value: each.reference,
          checked: each.reference === image,
          onchange: () => choose(each),
        });
        return h(
          "label.bai-image-row",
          {},
          pick,
          h(
            "span.bai-image-text",
            {},
            h("span.bai-image-name", {}, each.name, " ", h("span.bai-tag", {}, each.tag)),
            h("span.bai-hint", {}, each.about),
          ),
        );
      }),
      found.length ? null : h("p.bai-hint", {}, choice ? "No image matches." : "Asking the server …"),
    );
  }

  function choose(each) {
    image = each.reference;
    for (const [slot, entry] of amounts) {
      const least = each.least[slot] ?? 0;
      const step = entry.slot.step;
      entry.least = least;
      entry.input.min = Math.ceil(least / step) * step; // the steps are round amounts
      if (!touched.has(slot)) entry.input.value = entry.input.min;
      showAmount(entry);
    }
    changed();
  }

  // -- resources --------------------------------------------------------------------------------

  const presets = h("div.bai-presets", { role: "group", "aria-label": "Presets" });
  const sliders = h("div.bai-sliders");

  function showOffer() {
    for (const slot of offer.slots) {
      let entry = amounts.get(slot.name);
      if (!entry) {
        const input = h("input", { type: "range", min: 0, id: name("slot") });
        const number = h("output", { htmlFor: input.id });
        const left = h("span.bai-hint");
        entry = { slot, input, number, left };
        input.addEventListener("input", () => {
          touched.add(slot.name);
          showAmount(entry);
          changed();
        });
        amounts.set(slot.name, entry);
        sliders.append(
          h("div.bai-slider", {}, h("label", { htmlFor: input.id }, slot.label), input, number, left),
        );
        input.value = 0;
      }
      entry.slot = slot;
      entry.input.step = slot.step;
      entry.input.max = slot.most;
      entry.input.disabled = slot.most === 0;
      say(entry.left, slot.most === 0 ? "none left" : `${slot.left} left`);
      showAmount(entry);
    }
    fill(
      presets,
      offer.presets.map((preset) =>
        button(preset.free ? preset.name : `${preset.name} (not free now)`, () => usePreset(preset), "chip", {
          disabled: !preset.free,
          title: Object.entries(preset.slots).map(([slot, amount]) => `${slot} ${unit(slot, amount)}`).join(", "),
        }),
      ),
    );
    presets.hidden = offer.presets.length === 0;
    if (choice && image) {
      const picked = choice.images.find((each) => each.reference === image);
      if (picked) choose(picked);
    }
  }

  function usePreset(preset) {
    for (const [slot, entry] of amounts) {
      entry.input.value = preset.slots[slot] ?? 0;
      touched.add(slot);
      showAmount(entry);
    }
    changed();
  }

  const unit = (slot, amount) => (slot === "mem" ? size(amount * 2 ** 20) : String(Number(Number(amount).toFixed(2))));

  function showAmount({ slot, input, number, least }) {
    const amount = touched.has(slot.name) ? input.value : (least ?? 0);
    say(number, unit(slot.name, amount));
    input.setAttribute("aria-valuetext", unit(slot.name, amount));
    const part = input.max > input.min ? ((input.value - input.min) / (input.max - input.min)) * 100 : 0;
    input.style.setProperty("--bai-part", `${part}%`);
  }

  // -- the rest ---------------------------------------------------------------------------------

  const title = h("input", { type: "text", placeholder: "made up when empty", maxLength: 64, oninput: changed });
  const project = h("input", { type: "text", oninput: changed });
  const where = h("select", { onchange: changed });
  const folders = h("div.bai-checks", { role: "group", "aria-label": "Folders to mount" });
  const environ = h("textarea", { rows: 3, placeholder: "KEY=value, one a line", spellcheck: false, oninput: changed });

  function showChoice() {
    showImages();
    project.placeholder = choice.project;
    fill(where, h("option", { value: "" }, "any"), choice.scaling_groups.map((each) => h("option", { value: each }, each)));
    fill(
      folders,
      choice.folders.length
        ? choice.folders.map((each) =>
            h("label.bai-check", {}, h("input", { type: "checkbox", value: each, onchange: changed }), each),
          )
        : h("p.bai-hint", {}, "You have no virtual folders."),
    );
    if (!image && choice.images.length) {
      const first = choice.images[0];
      choose(first);
      showImages();
    }
  }

  function form() {
    const resources = {};
    // What nobody has set is the image's minimum, which the server knows best.
    for (const slot of touched) {
      const amount = Number(amounts.get(slot)?.input.value ?? 0);
      if (amount > 0) resources[slot] = amount;
    }
    return {
      image,
      name: title.value,
      resources,
      mounts: [...folders.querySelectorAll("input:checked")].map((each) => each.value),
      environ: environ.value
        .split("\n")
        .filter((line) => line.trim())
        .map((line) => {
          const [key, ...rest] = line.split("=");
          return [key.trim(), rest.join("=")];
        }),
      project: project.value,
      scaling_group: where.value,
    };
  }

  // -- the line that does the same --------------------------------------------------------------

  const line = h("code.bai-line");
  const cell = h("code.bai-line");
  const wrong = h("p.bai-wrong", { role: "status" });
  let due = 0;
  let checks = 0;

  function changed() {
    clearTimeout(due);
    due = setTimeout(check, CHECK_AFTER);
  }

  async function check() {
    checks += 1;
    const mine = checks;
    const answer = await desk.act(null, desk.ask("launcher.check", { form: form() }));
    if (!answer || mine !== checks) return;
    say(line, answer.value.line);
    say(cell, answer.value.cell ?? "");
    cell.parentElement.hidden = !answer.value.cell;
    if (answer.value.problem) fill(wrong, problem(answer.value.problem));
    else fill(wrong);
    start.disabled = Boolean(answer.value.problem) || isStarting;
  }

  // -- starting ---------------------------------------------------------------------------------

  const start = button("Start the session", (event) => begin(event.target), "main");
  const kernel = button("Make it a kernel", (event) => makeKernel(event.target));
  const cancel = button("Cancel", (event) => desk.act(event.target, desk.ask("launcher.cancel")));
  const progress = h("div.bai-progress", { hidden: true, role: "status" });
  const steps = h("ol.bai-steps");
  const note = h("p.bai-hint");
  const took = h("span.bai-took", { "aria-hidden": "true" });
  const heading = h("strong");
  const after = h("div.bai-actions");
  progress.append(h("div.bai-progress-head", {}, heading, took, h("span.bai-gap"), cancel), steps, note, after);

  async function begin(target) {
    await desk.act(target, desk.ask("launcher.start", { form: form() }));
    changed();
  }

  async function makeKernel(target) {
    const answer = await desk.act(target, desk.ask("launcher.kernel", { form: form() }));
    if (answer)
      desk.say(`The kernel “${answer.value.display_name}” is written to ${answer.value.folder}; it is in Jupyter's launcher when its page is loaded again.`);
  }

  let clock = 0;
  function showProgress(now) {
    progress.hidden = false;
    isStarting = now.state === "waiting";
    start.disabled = isStarting;
    progress.dataset.state = now.state;
    const words = {
      waiting: `Starting ${now.name}`,
      ready: `${now.name} runs`,
      failed: `${now.name} was not started`,
      cancelled: `The start of ${now.name} was cancelled`,
    };
    say(heading, words[now.state]);
    began = Date.now() - now.seconds * 1000;
    clearInterval(clock);
    say(took, ` · ${now.took}`);
    if (isStarting) clock = setInterval(() => say(took, ` · ${Math.round((Date.now() - began) / 1000)} s`), 1000);
    const at = PHASES.indexOf(now.phase);
    steps.hidden = !isStarting && now.state !== "ready";
    fill(
      steps,
      PHASES.map((phase, index) => {
        const state = now.state === "ready" || index < at ? "done" : index === at ? "now" : "later";
        const mark = { done: "✓", now: "●", later: "○" }[state];
        return h(`li.bai-${state}`, state === "now" ? { "aria-current": "step" } : {}, h("span", { "aria-hidden": "true" }, mark), ` ${phase}`, h("span.bai-unseen", {}, state === "done" ? " (done)" : ""));
      }),
    );
    if (now.error) fill(note, problem(now.error));
    else say(note, now.note || (isStarting ? now.status.toLowerCase() : ""));
    cancel.hidden = !isStarting;
    fill(after, now.state === "ready" && desk.has("sessions") ? button("Show it among the sessions", () => desk.go("sessions")) : null);
  }

  const element = h(
    "div.bai-part.bai-launcher",
    {},
    h(
      "div.bai-columns",
      {},
      h("fieldset.bai-group", {}, h("legend", {}, "Image"), field("Search", find), images),
      h(
        "div.bai-stack",
        {},
        h("fieldset.bai-group", {}, h("legend", {}, "Resources, of what is left"), presets, sliders),
        h(
          "fieldset.bai-group",
          {},
          h("legend", {}, "Session"),
          h("div.bai-pairs", {}, field("Name", title), field("Project", project), field("Scaling group", where)),
          h("div.bai-field", {}, h("span.bai-label", {}, "Folders"), folders),
          field("Environment", environ),
        ),
      ),
    ),
    h(
      "div.bai-same",
      {},
      h("div.bai-same-line", {}, h("span.bai-label", {}, "The same as a line"), line, copying(() => line.textContent, "Copy")),
      h("div.bai-same-line", {}, h("span.bai-label", {}, "Or to run a cell in it"), cell, copying(() => cell.textContent, "Copy")),
      wrong,
    ),
    h("div.bai-actions", {}, start, kernel),
    progress,
  );

  function told(message) {
    if (message.problem !== undefined) desk.problem(message.problem, "launcher");
    if (message.offer) offer = message.offer;
    if (message.choice) choice = message.choice;
    if (message.offer) showOffer();
    if (message.choice) showChoice();
    if (message.offer && !message.choice) changed();
    if (message.progress) showProgress(message.progress);
  }

  return {
    element,
    told,
    close() {
      clearTimeout(due);
      clearInterval(clock);
    },
  };
}
