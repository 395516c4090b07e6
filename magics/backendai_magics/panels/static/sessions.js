// The sessions: a list that is filtered and sorted here, and what can be done with one or several.

import { add, button, copying, field, fill, h, name, problem, say, span } from "./dom.js";
import { table } from "./table.js";
import { details } from "./details.js";

const COLUMNS = ["id", "name", "status", "image", "asked", "used", "created", "over", "idle", "reason", "owner"];
const SHARED = new Set(["image", "asked", "owner"]);
const KINDS = [["mine", "Mine"], ["running", "Running"], ["dead", "Ended"], ["all", "All"]];
const ROW = 44; // px
const TICK = 15000; // ms between two looks at the clock
const RESTS = -1; // in place of the time when a session ends: it is in use, and that clock stands still
const NEVER = 1e12; // seconds: after all that end some time
const IDLE_TIPS = {
  "-1": "It is in use: its time does not run out while it is",
  0: "No limit is told",
  1: "The server ends it then; its details say why",
};

const TONES = {
  RUNNING: ["good", "●"],
  RUNNING_DEGRADED: ["warn", "◐"],
  TERMINATING: ["wait", "◌"],
  TERMINATED: ["off", "○"],
  CANCELLED: ["off", "○"],
  ERROR: ["bad", "✗"],
};

/** A status as a mark, a word and a colour. */
export function status(word) {
  const [tone, mark] = TONES[word] ?? ["wait", "◔"];
  const text = word.charAt(0) + word.slice(1).toLowerCase().replaceAll("_", " ");
  return h(`span.bai-status.bai-${tone}`, {}, h("span", { "aria-hidden": "true" }, mark), h("span", {}, text));
}

/** Nothing is there to be ended; a session in ERROR is. */
export const isOver = (word) => word === "TERMINATED" || word === "CANCELLED";
export const isRunning = (word) => word === "RUNNING" || word === "RUNNING_DEGRADED";

export function sessions(desk) {
  const all = new Map(); // key → row
  let words = [];
  let which = "mine";
  let sortedBy = "created";
  let descending = true;
  let isRead = false;
  let total = 0;
  const chosen = new Set(); // keys
  let ending = []; // [{token, names, until}]

  // -- the controls above -----------------------------------------------------------------------

  const kinds = h("div.bai-kinds", { role: "group", "aria-label": "Which sessions" });
  for (const [key, label] of KINDS) {
    const each = button(label, () => choose(key), "kind", { "aria-pressed": String(key === which) });
    each.dataset.key = key;
    kinds.append(each);
  }
  const search = h("input", { type: "search", placeholder: "Name, image, status …", oninput: () => arrange() });
  const count = h("span.bai-count", { role: "status" });
  const launch = desk.has("launcher")
    ? button("Launch a session", () => desk.go("launcher"), "main")
    : null;
  const bar = h("div.bai-bar", {}, kinds, field("Filter", search), count, h("span.bai-gap"), launch);
  bar.querySelector(".bai-field").classList.add("bai-inline");

  const several = h("div.bai-several", { role: "group", "aria-label": "The selected sessions", hidden: true });
  const endings = h("div.bai-endings", { role: "status" });
  const empty = h("div.bai-empty", {}, "Asking the server …");
  const everything = h("input", {
    type: "checkbox",
    "aria-label": "Select all sessions that are listed",
    onchange: () => {
      chosen.clear();
      if (everything.checked) for (const row of listed) chosen.add(row.key);
      list.touch();
      showChosen();
    },
  });

  // -- the list ---------------------------------------------------------------------------------

  let listed = [];
  const text = (className, value, tip) => ({
    className,
    make: (cell) => cell.append(h("span.bai-clip")),
    fill: (cell, row) => {
      say(cell.firstChild, value(row));
      cell.title = (tip ?? value)(row);
    },
  });
  const now = () => Date.now() / 1000;
  const idleText = (row) => (row.idle === RESTS ? "rests" : row.idle ? span(row.idle - now()) : "–");
  const list = table({
    label: "Sessions",
    height: ROW,
    onsort(key) {
      descending = key === sortedBy ? !descending : key === "created" || key === "idle";
      sortedBy = key;
      arrange();
    },
    onkey(event, row) {
      if (event.key === "Delete" && !isOver(row.status)) {
        event.preventDefault();
        end(chosen.has(row.key) ? pickedRows() : [row]);
      }
    },
    columns: [
      {
        key: "pick",
        className: "bai-pick",
        head: everything,
        make: (cell, row) =>
          cell.append(
            h("input", {
              type: "checkbox",
              onchange: (event) => {
                if (event.target.checked) chosen.add(row.key);
                else chosen.delete(row.key);
                list.touch();
                showChosen();
              },
            }),
          ),
        fill: (cell, row, line) => {
          cell.firstChild.checked = chosen.has(row.key);
          cell.firstChild.setAttribute("aria-label", `Select ${row.name}`);
          line.classList.toggle("bai-chosen", chosen.has(row.key));
        },
      },
      {
        key: "name",
        label: "Name",
        sort: true,
        isHead: true,
        className: "bai-name",
        make: (cell, row) =>
          cell.append(
            button("", () => open(all.get(row.key) ?? row), "link"),
            h("span.bai-owner"),
          ),
        fill: (cell, row) => {
          say(cell.firstChild, row.name);
          cell.title = row.name;
          say(cell.lastChild, row.owner ? `of ${row.owner}` : "");
        },
      },
      {
        key: "status",
        label: "Status",
        sort: true,
        className: "bai-state",
        fill: (cell, row) => {
          if (cell.dataset.word !== row.status) {
            cell.dataset.word = row.status;
            fill(cell, status(row.status));
          }
          cell.title = row.reason || row.status;
        },
      },
      { key: "image", label: "Image", sort: true, ...text("bai-image", (row) => row.image) },
      {
        key: "asked",
        label: "Resources",
        className: "bai-asked",
        make: (cell) => cell.append(h("span.bai-clip"), h("span.bai-used")),
        fill: (cell, row) => {
          say(cell.firstChild, row.asked);
          say(cell.lastChild, row.used ? `uses ${row.used}` : "");
          cell.title = row.used ? `${row.asked}; uses ${row.used}` : row.asked;
        },
      },
      {
        key: "created",
        label: "Age",
        sort: true,
        ...text(
          "bai-age",
          (row) => (row.created ? span((row.over || now()) - row.created) : ""),
          (row) => (row.created ? `since ${new Date(row.created * 1000).toLocaleString()}` : ""),
        ),
      },
      {
        key: "idle",
        label: "Idle left",
        sort: true,
        ...text("bai-idle", idleText, (row) => IDLE_TIPS[Math.sign(row.idle)]),
      },
      {
        key: "actions",
        label: "Actions",
        className: "bai-acts",
        make: (cell, row) =>
          cell.append(
            button("Logs", () => open(all.get(row.key) ?? row, "log"), "small"),
            button("End", () => end([all.get(row.key) ?? row]), "small"),
          ),
        fill: (cell, row) => {
          cell.children[0].setAttribute("aria-label", `Logs of ${row.name}`);
          cell.children[1].setAttribute("aria-label", `End ${row.name}`);
          cell.children[1].disabled = isOver(row.status) || isEnding(row);
        },
      },
    ],
  });

  const drawer = details(desk, { end: (row) => end([row]), status });
  const element = h("div.bai-part", {}, bar, several, endings, empty, list.element, drawer.element);
  list.element.hidden = true;

  function choose(key) {
    which = key;
    for (const each of kinds.children) each.setAttribute("aria-pressed", String(each.dataset.key === key));
    chosen.clear();
    showChosen();
    desk.act(null, desk.ask("sessions.list", { which: key }));
  }

  function arrange() {
    const wanted = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    listed = [...all.values()].filter((row) => {
      const text = `${row.name} ${row.image} ${row.status} ${row.id} ${row.owner}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    const sign = descending ? -1 : 1;
    const value = (row) => (sortedBy === "idle" && row.idle <= 0 ? NEVER + row.idle : row[sortedBy]);
    listed.sort((one, other) => sign * compare(value(one), value(other)) || compare(one.name, other.name));
    list.sorted(sortedBy, descending);
    list.set(listed);
    const some = listed.length > 0;
    list.element.hidden = !some;
    empty.hidden = some;
    if (!some) say(empty, nothing(wanted));
    say(count, isRead ? counted(wanted) : "");
    everything.checked = some && listed.every((row) => chosen.has(row.key));
  }

  function nothing(wanted) {
    if (!isRead) return "Asking the server …";
    if (wanted.length && all.size) return "No session matches the filter.";
    return { mine: "You have no live sessions.", running: "No session runs.", dead: "No session has ended." }[which] ?? "There are no sessions.";
  }

  function counted(wanted) {
    const many = (number) => `${number} session${number === 1 ? "" : "s"}`;
    if (wanted.length) return `${listed.length} of ${many(all.size)}`;
    return all.size < total ? `The newest ${all.size} of ${many(total)}` : many(all.size);
  }

  function pickedRows() {
    return [...chosen].map((key) => all.get(key)).filter(Boolean);
  }

  function showChosen() {
    const rows = pickedRows();
    several.hidden = rows.length === 0;
    const alive = rows.filter((row) => !isOver(row.status));
    if (!several.firstChild)
      add(several, [
        h("span"),
        button("End them", () => end(pickedRows().filter((row) => !isOver(row.status))), "danger"),
        button("Select none", () => {
          chosen.clear();
          list.touch();
          showChosen();
        }),
      ]);
    say(several.firstChild, `${rows.length} selected`);
    several.children[1].disabled = alive.length === 0;
    everything.checked = listed.length > 0 && listed.every((row) => chosen.has(row.key));
  }

  function open(row, pane = "facts") {
    drawer.open(row, pane);
  }

  // -- ending -----------------------------------------------------------------------------------

  const isEnding = (row) => ending.some((each) => each.names.includes(row.name));

  async function end(rows) {
    if (!rows.length) return;
    // Servers end a session in ERROR by force only; the others are to end in good order.
    for (const forced of [false, true]) {
      const some = rows.filter((row) => (row.status === "ERROR") === forced).map((row) => row.id);
      if (some.length) await desk.act(null, desk.ask("sessions.end", { sessions: some, forced }));
    }
    for (const row of rows) chosen.delete(row.key);
    list.touch();
    showChosen();
  }

  function showEnding(pending) {
    const known = new Map(ending.map((each) => [each.token, each]));
    ending = pending.map(
      ([token, names, seconds]) => known.get(token) ?? { token, names, until: Date.now() + seconds * 1000 },
    );
    fill(
      endings,
      ending.map((each) => {
        const left = h("span.bai-left", { "aria-hidden": "true" });
        each.left = left;
        const who = each.names.length > 3 ? `${each.names.length} sessions` : each.names.join(", ");
        return h(
          "div.bai-ending",
          {},
          h("span", {}, `Ending ${who}`),
          left,
          button("Undo", (event) => desk.act(event.target, desk.ask("sessions.undo", { token: each.token })), "small"),
        );
      }),
    );
    countDown();
    list.touch();
  }

  let counting = 0;
  function countDown() {
    clearTimeout(counting);
    for (const each of ending) say(each.left, ` in ${Math.max(0, Math.ceil((each.until - Date.now()) / 1000))} s`);
    if (ending.length) counting = setTimeout(countDown, 250);
  }

  // -- what the kernel tells --------------------------------------------------------------------

  function read(values) {
    const row = { key: values[0] };
    COLUMNS.forEach((column, index) => {
      const value = values[index + 1];
      row[column] = SHARED.has(column) ? words[value] : value;
    });
    all.set(row.key, row);
  }

  function told(message) {
    if (message.rows) {
      words = [...message.words];
      all.clear();
      message.rows.forEach(read);
      for (const key of [...chosen]) if (!all.has(key)) chosen.delete(key);
      isRead = true;
    }
    words.push(...(message.more_words ?? []));
    (message.add ?? []).forEach(read);
    for (const [key, ...patch] of message.set ?? []) {
      const row = { ...all.get(key) };
      for (let index = 0; index < patch.length; index += 2) {
        const column = COLUMNS[patch[index]];
        row[column] = SHARED.has(column) ? words[patch[index + 1]] : patch[index + 1];
      }
      all.set(key, row);
    }
    for (const key of message.gone ?? []) {
      all.delete(key);
      chosen.delete(key);
    }
    if (message.which && message.which !== which) {
      which = message.which;
      for (const each of kinds.children) each.setAttribute("aria-pressed", String(each.dataset.key === which));
    }
    if (message.total !== undefined) total = message.total;
    if (message.live !== undefined) desk.live(message);
    if (message.problem !== undefined) desk.problem(message.problem);
    if (message.failed) desk.problem(message.failed);
    if (message.said) desk.say(message.said);
    if (message.left) desk.say(`${message.left[0]} is ${message.left[1].toLowerCase()}${message.left[2] ? ` (${message.left[2]})` : ""}.`);
    if (message.ending) showEnding(message.ending);
    if (message.log) drawer.log(message);
    if (message.rows || message.add || message.set || message.gone || message.total !== undefined) {
      arrange();
      list.touch();
      showChosen();
      drawer.update(all);
    }
    if (message.apart) drawer.update(all, message.apart);
  }

  let clock = 0;
  function tick() {
    clearInterval(clock);
    clock = setInterval(() => list.touch(), TICK);
  }
  tick();
  return {
    element,
    told,
    shown: () => list.touch(),
    open: (row, pane) => open(row, pane),
    away() {
      clearInterval(clock);
      clearTimeout(counting);
    },
    back() {
      tick();
      countDown();
      drawer.resume();
    },
    close() {
      clearInterval(clock);
      clearTimeout(counting);
      list.close();
    },
  };
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}
