// A panel in a notebook's output: tabs, errors, and a line that tells how things are.

import { button, fill, h, name, problem, say } from "./dom.js";
import { open } from "./desk.js";
import { sessions } from "./sessions.js";
import { embed, formed } from "./formed.js";
import { resources } from "./resources.js";
import { apps } from "./apps.js";
import { folders } from "./folders.js";

const PARTS = {
  sessions: ["Sessions", sessions],
  launcher: ["Launch", (desk) => formed(desk, "launcher")],
  resources: ["Resources", resources],
  apps: ["Apps", apps],
  folders: ["Folders", folders],
  keys: ["SSH", (desk) => formed(desk, "keys")],
};
const GONE_AFTER = 2000; // ms out of the page after which nobody looks; cells that are moved come back
const WAITING = {
  busy: "The kernel is busy with a cell. What you asked for is done when the cell ends.",
  lost:
    "The kernel does not answer: a cell keeps it busy, or it is gone. If it was restarted or shut down, run this cell again.",
};

export function render({ model, el }) {
  const parts = model.get("parts").filter((part) => part in PARTS);
  const made = new Map();
  let current = "";
  const problems = new Map(); // part → error

  const server = h("span.bai-server");
  const alive = h("span.bai-live");
  const tabs = h("div.bai-tabs", { role: "tablist", "aria-label": "Parts of the panel" });
  const errors = h("div.bai-error", { role: "alert", hidden: true });
  const waiting = h("div.bai-waiting", { role: "status", hidden: true });
  const body = h("div.bai-body");
  const saying = h("div.bai-said", { role: "status" });
  const head = h("header.bai-head", {}, h("span.bai-brand", {}, "Backend.AI"), server, saying, alive);
  const root = h(
    "section.bai-panel",
    { "aria-label": "Backend.AI" },
    head,
    parts.length > 1 ? tabs : null,
    errors,
    waiting,
    body,
  );
  el.append(root);

  // A key that is pressed in the panel is not the notebook's, where "x" cuts a cell. JupyterLab
  // looks for this mark at the element that has the focus, in the capture phase, so we come first.
  const own = (event) => {
    if (!root.contains(event.target)) return;
    const isOurs = !event.ctrlKey && !event.metaKey && !event.altKey;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", isOurs);
  };
  window.addEventListener("keydown", own, true);

  let quiet = 0;
  const desk = {
    has: (part) => parts.includes(part),
    go: (part, argument) => show(part, argument),
    say(text) {
      place();
      say(saying, text);
      clearTimeout(quiet);
      quiet = setTimeout(() => say(saying, ""), 15000);
    },
    /** How soon the list shows what happens, as the kernel has told. */
    live({ live, every, own }) {
      say(alive, live ? (own ? "Own live" : "Live") : `Asked every ${Math.round(every)} s`);
      alive.title = live
        ? `What happens to ${own ? "your own" : "your"} sessions is shown at once; the whole list is asked for every ${Math.round(every)} s`
        : "The server's events are not heard";
      alive.classList.toggle("bai-on", live);
    },
    problem(error, part = current) {
      if (error) problems.set(part, error);
      else problems.delete(part);
      showProblem();
    },
    ask: (...args) => link.ask(...args),
    embed: (id, element) => embed(model.widget_manager, id, element),
    /** Wait for an intent with its button busy; say when it is done, show when it fails. */
    async act(target, promise, done = "") {
      const control = target instanceof HTMLButtonElement ? target : null;
      control?.setAttribute("aria-busy", "true");
      if (control) control.disabled = true;
      try {
        const answer = await promise;
        if (done) desk.say(done);
        return answer;
      } catch (error) {
        desk.problem(error);
        return null;
      } finally {
        control?.removeAttribute("aria-busy");
        if (control) control.disabled = false;
      }
    },
  };

  /** Put what is said at the top of the panel, or at its end while the top is out of sight. */
  function place() {
    const { top, bottom } = head.getBoundingClientRect();
    const isSeen = bottom > 0 && top < window.innerHeight;
    if (isSeen && saying.parentElement !== head) alive.before(saying);
    if (!isSeen && saying.parentElement === head) root.append(saying);
  }

  function showProblem() {
    const error = problems.get(current);
    errors.hidden = !error;
    if (!error) return fill(errors);
    const dismiss = button("Dismiss", () => {
      problems.delete(current);
      showProblem();
    }, "small");
    fill(errors, h("span", {}, problem(error)), dismiss);
  }

  const link = open(model, {
    tell(message, buffers) {
      if (message.go && parts.includes(message.go)) return show(message.go);
      made.get(message.part)?.told(message, buffers);
    },
    waiting(state) {
      waiting.hidden = !state;
      if (state) say(waiting, WAITING[state]);
    },
    back() {
      for (const part of made.values()) part.back?.();
    },
  });

  // A tab beside the notebook that is closed, or a cell far out of sight, is taken out of the page
  // without a word to those in it; its size is nothing then.
  let isAway = false;
  let leaving = 0;
  const watch = new ResizeObserver(() => {
    clearTimeout(leaving);
    if (!root.isConnected) leaving = isAway ? 0 : setTimeout(leave, GONE_AFTER);
    else if (isAway) {
      isAway = false;
      link.come();
    }
  });
  watch.observe(root);
  function leave() {
    if (root.isConnected) return;
    isAway = true;
    link.leave();
    for (const part of made.values()) part.away?.();
  }

  for (const part of parts) {
    const [label] = PARTS[part];
    const id = name(part);
    const tab = h("button.bai-tab", {
      type: "button",
      role: "tab",
      id: `${id}-tab`,
      "aria-controls": id,
      tabIndex: -1,
      onclick: () => show(part),
    }, label);
    tab.dataset.part = part;
    tabs.append(tab);
    const pane = h("div.bai-pane", { id, hidden: true });
    if (parts.length > 1) {
      pane.setAttribute("role", "tabpanel");
      pane.setAttribute("aria-labelledby", tab.id);
    }
    pane.dataset.part = part;
    body.append(pane);
  }
  tabs.addEventListener("keydown", (event) => {
    const order = [...tabs.children];
    const index = order.indexOf(document.activeElement);
    const next = {
      ArrowRight: order[(index + 1) % order.length],
      ArrowLeft: order[(index + order.length - 1) % order.length],
      Home: order[0],
      End: order.at(-1),
    }[event.key];
    if (!next || index < 0) return;
    event.preventDefault();
    show(next.dataset.part);
    next.focus();
  });

  function show(part, argument) {
    const isFirst = !made.has(part);
    if (current !== part) say(saying, "");
    current = part;
    for (const tab of tabs.children) {
      const is = tab.dataset.part === part;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
    }
    for (const pane of body.children) pane.hidden = pane.dataset.part !== part;
    if (isFirst) {
      const one = PARTS[part][1](desk);
      made.set(part, one);
      [...body.children].find((pane) => pane.dataset.part === part).append(one.element);
    }
    alive.hidden = part !== "sessions";
    showProblem();
    link
      .show(part, isFirst ? "hello" : "show")
      .then(({ value }) => say(server, value.server))
      .catch((error) => desk.problem(error, part));
    made.get(part).shown?.(argument);
  }

  show(parts[0]);

  return () => {
    watch.disconnect();
    clearTimeout(leaving);
    link.close();
    window.removeEventListener("keydown", own, true);
    clearTimeout(quiet);
    for (const part of made.values()) part.close?.();
  };
}

export default { render };
