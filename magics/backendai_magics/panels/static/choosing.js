// A choice of a running session, for parts that are about one of them.

import { field, fill, h } from "./dom.js";

/** Return a choice; chosen(id) is called with the id of a session, or "" when none runs. */
export function choosing(chosen) {
  let sessions = [];
  let wanted = "";
  const choice = h("select", { onchange: () => pick(choice.value) });
  const element = field("Session", choice);
  element.classList.add("bai-inline", "bai-pick-session");
  element.hidden = true;

  function pick(id) {
    wanted = id;
    choice.value = id;
    chosen(id);
  }

  function show() {
    fill(choice, sessions.map(([id, label]) => h("option", { value: id }, label)));
    element.hidden = !sessions.length;
  }

  return {
    element,
    get id() {
      return wanted;
    },
    get name() {
      return sessions.find(([id]) => id === wanted)?.[1] ?? "";
    },
    /** Take the sessions that run now. */
    set(list) {
      sessions = list;
      show();
      const still = sessions.some(([id]) => id === wanted);
      if (still) choice.value = wanted;
      else pick(sessions[0]?.[0] ?? "");
    },
    /** Choose a session that somebody has asked for elsewhere. */
    want(row) {
      if (!row) return;
      if (!sessions.some(([id]) => id === row.id)) sessions = [[row.id, row.name], ...sessions];
      show();
      pick(row.id);
    },
  };
}
