// What may be used, what is used and what is free; and what each running session uses over time.

import { fill, h, say, size, span, svg } from "./dom.js";

const WIDE = 120;
const HIGH = 28;
const ASKING = "Asking the server …";

/** A small curve with a text beside it. */
function curve(label) {
  const line = svg("polyline", { fill: "none", "vector-effect": "non-scaling-stroke" });
  const ground = svg("polygon", { stroke: "none" });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ground, line);
  const now = h("span.bai-now");
  const element = h("div.bai-curve", {}, h("span.bai-curve-label", {}, label), drawing, now);
  return {
    element,
    draw(values, most, words) {
      const known = values.filter((value) => value !== null);
      element.hidden = known.length === 0;
      if (!known.length) return;
      const top = Math.max(most || 0, ...known) || 1;
      const step = WIDE / Math.max(values.length - 1, 1);
      const points = values.map((value, index) =>
        value === null ? "" : `${(index * step).toFixed(1)},${(HIGH - 2 - (value / top) * (HIGH - 4)).toFixed(1)}`,
      );
      const all = known.length === 1 ? [`0,${points.at(-1).split(",")[1]}`, `${WIDE},${points.at(-1).split(",")[1]}`] : points;
      const path = all.filter(Boolean);
      line.setAttribute("points", path.join(" "));
      const [begin, end] = [path[0], path.at(-1)].map((point) => point.split(",")[0]);
      ground.setAttribute("points", [`${begin},${HIGH}`, ...path, `${end},${HIGH}`].join(" "));
      say(now, words(known.at(-1)));
    },
  };
}

export function resources(desk) {
  const group = h("span.bai-hint", {}, ASKING);
  const slots = h("div.bai-slots");
  const list = h("ul.bai-sessions", { "aria-label": "What running sessions use" });
  const silent = h("span.bai-hint", { role: "status" }, ASKING);
  const element = h(
    "div.bai-part",
    {},
    h("div.bai-heading", {}, h("h3.bai-title", {}, "Quota"), group),
    slots,
    h("div.bai-heading", {}, h("h3.bai-title", {}, "Running sessions"), silent),
    list,
  );
  const shown = new Map(); // id → {past, curves, session}
  let every = 10;
  let newest = 0; // so many are shown, and there may be more
  let isRead = false; // what runs

  function bar(slot) {
    const percent = Math.round(slot.share * 100);
    const limit = slot.limit === "no limit" ? "no limit" : `of ${slot.limit}`;
    return h(
      "div.bai-slot",
      {},
      h("div.bai-slot-head", {}, h("span.bai-slot-name", {}, slot.label), h("span", {}, `${slot.used} in use, ${limit}`)),
      h("div.bai-meter", { role: "meter", "aria-label": `${slot.label} in use`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": percent, "aria-valuetext": `${slot.used} ${limit}` }, fillBar(percent)),
      h(
        "div.bai-hint",
        {},
        slot.left === "no limit" ? "" : `${slot.left} left for you`,
        slot.free ? `${slot.left === "no limit" ? "" : "; "}${slot.free} free in ${slot.where}` : "",
      ),
    );
  }

  function fillBar(percent) {
    const part = h(`div.bai-fill${percent >= 90 ? ".bai-much" : ""}`);
    part.style.width = `${percent}%`;
    return part;
  }

  function make(session) {
    const curves = { cpu: curve("CPU"), mem: curve("Memory"), gpu: curve("GPU") };
    const asked = [
      session.cpu && `${session.cpu} CPU`,
      session.mem && size(session.mem),
      session.gpu && `${session.gpu} GPU`,
    ].filter(Boolean);
    const line = h(
      "li.bai-session",
      {},
      h("div.bai-session-name", {}, h("strong.bai-clip", { title: session.name }, session.name), h("span.bai-hint", {}, asked.join(" · "))),
      Object.values(curves).map((each) => each.element),
    );
    return { line, curves, session, past: session.past };
  }

  function draw(entry) {
    const { past, curves, session } = entry;
    curves.cpu.draw(past.map((each) => each[0]), session.cpu, (now) => `${now.toFixed(1)} of ${session.cpu || "?"}`);
    curves.mem.draw(past.map((each) => each[1]), session.mem, (now) => `${size(now)} of ${session.mem ? size(session.mem) : "?"}`);
    curves.gpu.draw(past.map((each) => each[2]), 1, (now) => `${Math.round(now * 100)} %`);
  }

  function told(message) {
    if (message.every) every = message.every;
    if (message.newest !== undefined) newest = message.newest;
    if (message.problem !== undefined) desk.problem(message.problem, "resources");
    if (message.group) say(group, `of the project ${message.group}`);
    if (message.slots) fill(slots, message.slots.map(bar));
    if (message.sessions) {
      isRead = true;
      shown.clear();
      for (const session of message.sessions) shown.set(session.id, make(session));
      fill(list, [...shown.values()].map((entry) => entry.line));
    }
    for (const [id, now] of Object.entries(message.figures ?? {})) {
      const entry = shown.get(id);
      if (!entry) continue;
      entry.past = [...entry.past, now].slice(-60);
    }
    for (const entry of shown.values()) draw(entry);
    const tells = [...shown.values()].some((entry) => entry.past.some((each) => each.some((value) => value !== null)));
    if (!isRead) return;
    const cut = newest ? `the newest ${newest}, Sessions has all; ` : "";
    if (!shown.size) say(silent, "No session runs.");
    else say(silent, cut + (tells ? `the last ${span(60 * every)}` : "this server does not tell what sessions use"));
  }

  return { element, told };
}
