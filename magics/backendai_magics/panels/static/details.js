// One session, below the list: all there is to say of it, its log as it grows, what can be done.

import { button, field, fill, h, name, problem, say } from "./dom.js";

const KEPT = 400000; // characters of a log in the page
const COLOURS = /\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[\u0000-\u0008\u000b-\u001f]/g;

export function details(desk, { end, status }) {
  const title = h("h3.bai-title");
  const state = h("span");
  const acts = h("div.bai-actions", { role: "group", "aria-label": "What to do with it" });
  const ask = h("div.bai-ask", { hidden: true });
  const panes = h("div.bai-kinds", { role: "group", "aria-label": "What to show of it" });
  const facts = h("dl.bai-facts");
  const cut = h("p.bai-hint", { hidden: true });
  const text = h("pre.bai-log", { tabIndex: 0, role: "log", "aria-label": "Log", "aria-live": "off" });
  const over = h("p.bai-hint", { role: "status" });
  const log = h("div", {}, cut, text, over);
  const close = button("Close", () => shut(), "small");
  const element = h(
    "section.bai-drawer",
    { hidden: true, "aria-label": "The session that is open" },
    h("div.bai-drawer-head", {}, title, state, h("span.bai-gap"), panes, close),
    acts,
    ask,
    facts,
    log,
  );
  let row = null;
  let pane = "facts";
  let opener = null;

  for (const [key, label] of [["facts", "Details"], ["log", "Log"]]) {
    const each = button(label, () => turn(key), "kind");
    each.dataset.key = key;
    panes.append(each);
  }

  const more = desk.has("apps") || desk.has("folders") || desk.has("keys");
  const buttons = {
    apps: desk.has("apps") && button("Apps", () => desk.go("apps", row)),
    ssh: desk.has("keys") && button("SSH", () => desk.go("keys", row)),
    files: desk.has("folders") && button("Files", () => desk.go("folders", row)),
    interrupt: button("Interrupt", (event) =>
      desk.act(event.target, desk.ask("sessions.interrupt", { session: row.id }), `${row.name} was sent an interrupt.`),
    ),
    restart: button("Restart", () =>
      confirm(`Give ${row.name} a fresh interpreter? Its variables are lost, its files stay.`, "Restart it", (target) =>
        desk.act(target, desk.ask("sessions.restart", { session: row.id }), `${row.name} has a fresh interpreter.`),
      ),
    ),
    rename: button("Rename", () => rename()),
    end: button("End", () => end(row), "danger"),
  };
  fill(acts, more && [buttons.apps, buttons.ssh, buttons.files], buttons.interrupt, buttons.restart, buttons.rename, buttons.end);

  function confirm(question, word, work) {
    const yes = button(word, async (event) => {
      await work(event.target);
      unask();
    }, "main");
    fill(ask, h("span", {}, question), yes, button("Leave it", unask));
    ask.hidden = false;
    yes.focus();
  }

  function rename() {
    const input = h("input", { type: "text", value: row.name, maxLength: 64 });
    const go = async (event) => {
      const done = await desk.act(
        event.target,
        desk.ask("sessions.rename", { session: row.id, name: input.value }),
        `The session is now named ${input.value.trim()}.`,
      );
      if (done) unask();
    };
    const form = h("form.bai-inline", { onsubmit: (event) => { event.preventDefault(); go(event); } });
    fill(form, field("New name", input), button("Rename it", go, "main"), button("Leave it", unask));
    fill(ask, form);
    ask.hidden = false;
    input.select();
    input.focus();
  }

  function unask() {
    ask.hidden = true;
    fill(ask);
  }

  function open(which, wanted) {
    opener = document.activeElement;
    if (row && row.id !== which.id) {
      fill(facts);
      forget();
    }
    row = which;
    element.hidden = false;
    unask();
    show();
    turn(wanted, true);
    element.scrollIntoView({ block: "nearest" });
    panes.querySelector('[aria-pressed="true"]')?.focus({ preventScroll: true });
  }

  function shut() {
    if (row) desk.ask("sessions.shut").catch(() => {});
    element.hidden = true;
    row = null;
    if (opener?.isConnected) opener.focus();
  }

  function forget() {
    text.textContent = "";
    cut.hidden = true;
    say(over, "");
  }

  function show() {
    say(title, row.name);
    fill(state, status(row.status));
    const runs = row.status.startsWith("RUNNING");
    for (const key of ["apps", "ssh", "files", "interrupt", "restart", "rename"])
      if (buttons[key]) buttons[key].disabled = !runs;
    buttons.end.disabled = ["TERMINATED", "CANCELLED", "TERMINATING"].includes(row.status);
  }

  async function turn(key, isNew = false) {
    const before = pane;
    pane = key;
    for (const each of panes.children) each.setAttribute("aria-pressed", String(each.dataset.key === key));
    facts.hidden = key !== "facts";
    log.hidden = key !== "log";
    if (key === "log") {
      forget();
      say(over, "Asking for the log …");
      await desk.act(null, desk.ask("sessions.log", { session: row.id }));
      return;
    }
    if (before === "log" && !isNew) desk.ask("sessions.unlog").catch(() => {});
    const asked = row;
    const answer = await desk.act(null, desk.ask("sessions.info", { session: row.id }));
    if (answer && row === asked)
      fill(facts, answer.value.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
  }

  function take(message) {
    if (!row || message.log !== row.id || pane !== "log") return;
    if (message.first) forget();
    if (message.cut) {
      cut.hidden = false;
      say(cut, `The first ${message.cut.toLocaleString()} characters are left out; %bai logs shows all.`);
    }
    if (message.text) {
      const atEnd = text.scrollTop + text.clientHeight > text.scrollHeight - 20;
      text.append(message.text.replace(COLOURS, ""));
      if (text.textContent.length > KEPT) text.textContent = text.textContent.slice(-KEPT);
      if (atEnd) text.scrollTop = text.scrollHeight;
      say(over, "New lines are added as they come.");
    }
    if (message.over) say(over, "The session is over: this is all.");
    if (message.error) fill(over, problem(message.error));
  }

  /** Take the rows of the list. A session that is in no list is as the kernel has told last. */
  function update(all, apart = []) {
    if (!row) return;
    const now = [...all.values()].find((each) => each.id === row.id);
    const told = apart.find(([id]) => id === row.id);
    if (now) row = now;
    else if (told) row = { ...row, name: told[1], status: told[2], reason: told[3] };
    show();
  }

  /** Follow the log again: the kernel has ended that when nobody was looking. */
  function resume() {
    if (row && pane === "log") turn("log");
  }

  return { element, open, log: take, update, resume };
}
