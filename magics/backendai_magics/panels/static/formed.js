// A part whose form is made of stock widgets by the kernel: here it gets its place in the panel.

import { h, say } from "./dom.js";

const LOST = "This page shows no widgets inside of another.";

/** Return a place for the form of a part; it is made when the part is opened first. */
export function formed(desk, part) {
  const hint = h("p.bai-hint.bai-form-hint", { role: "status" }, "Making the form …");
  const place = h("div.bai-form-place");
  const element = h("div", {}, hint, place);
  let remove = () => {};
  let closed = false;

  // Sliders have no name of their own for a reader of the screen, nor a colour for how much they say.
  const mend = new MutationObserver(() => {
    for (const handle of place.querySelectorAll(".noUi-handle")) {
      const label = handle.closest(".bai-slider")?.querySelector("label")?.textContent ?? "";
      if (handle.getAttribute("aria-label") !== label) handle.setAttribute("aria-label", label);
      const [least, most, now] = ["min", "max", "now"].map((each) => Number(handle.getAttribute(`aria-value${each}`)));
      const share = most > least ? ((now - least) / (most - least)) * 100 : 0;
      handle.closest(".noUi-base").style.setProperty("--bai-part", `${share}%`);
    }
  });
  mend.observe(place, { childList: true, subtree: true, attributeFilter: ["aria-valuenow", "aria-valuemax"] });

  place.addEventListener("click", async (event) => {
    const control = event.target.closest("button");
    if (control?.classList.contains("bai-copy")) return copy(control);
    // Stock controls do not say when nobody hears them.
    if (control) desk.ask("here", { part }).catch(() => {});
  });

  async function copy(control) {
    try {
      await navigator.clipboard.writeText(control.parentElement.querySelector("code").textContent);
      say(control, "Copied");
    } catch {
      say(control, "Copying is not allowed here");
    }
    setTimeout(() => say(control, "Copy"), 2000);
  }

  async function begin() {
    const answer = await desk.act(null, desk.ask(`${part}.form`));
    if (closed) return;
    if (!answer) return say(hint, "The form is not there.");
    try {
      remove = await desk.embed(answer.value, place);
      hint.hidden = true;
      if (closed) remove();
    } catch (error) {
      console.warn(error);
      desk.problem({ message: LOST, hint: `panels.form("${part}") shows the form by itself.` }, part);
      say(hint, "");
    }
  }

  begin();
  return {
    element,
    told() {},
    /** Have the form show a session that somebody has asked for elsewhere. */
    shown(row) {
      if (row) desk.act(null, desk.ask(`${part}.want`, { session: row.id, name: row.name }));
    },
    close() {
      closed = true;
      mend.disconnect();
      remove();
    },
  };
}

/** Show a widget of the same kernel in an element; returns what takes it away again. */
export async function embed(manager, id, element) {
  if (!manager?.create_view) throw new Error("no manager of widgets");
  let view = null;
  for (let tries = 0; view === null; tries += 1) {
    try {
      view = await manager.create_view(await manager.get_model(id));
    } catch (error) {
      if (tries === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100)); // its comms are on their way
    }
  }
  const widget = view.luminoWidget ?? view.pWidget;
  // What Lumino's Widget.attach says, which only programs that bundle it can call.
  const tell = (type) => widget?.processMessage?.({ type, isConflatable: false });
  tell("before-attach");
  element.append(view.el);
  tell("after-attach");
  return () => {
    tell("before-detach");
    view.el.remove();
    tell("after-detach");
    view.remove();
  };
}
