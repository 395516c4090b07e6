// The apps of a session, and those that are open at a port of this computer.

import { choosing } from "./choosing.js";
import { button, copying, fill, h, say } from "./dom.js";

const OFFERS = {
  asked: "Asking the server …",
  told: "This session offers no apps.",
  failed: "What it offers is not known.",
};

export function apps(desk) {
  let open = [];
  let offered = []; // of the session that is chosen
  let state = "asked"; // then "told" or "failed"

  let isRead = false; // which sessions run

  const pick = choosing(choose);
  const offers = h("ul.bai-cards", { "aria-label": "Apps of the session" });
  const offersHint = h("p.bai-hint", {}, "Asking the server …");
  const there = h("ul.bai-cards", { "aria-label": "Open apps" });
  const thereHint = h("p.bai-hint");
  const element = h(
    "div.bai-part",
    {},
    h("div.bai-bar", {}, pick.element),
    offersHint,
    offers,
    h("h3.bai-title", {}, "Open on this computer"),
    thereHint,
    there,
  );

  async function choose(id) {
    offered = [];
    state = "asked";
    showOffers();
    if (!id) return;
    const answer = await desk.act(null, desk.ask("apps.list", { session: id }));
    if (pick.id !== id) return;
    state = answer ? "told" : "failed";
    offered = answer?.value ?? [];
    showOffers();
  }

  function where(app) {
    return open.find((each) => each.session_id === pick.id && each.app === app.name);
  }

  function showOffers() {
    if (isRead && !pick.id) say(offersHint, "No session runs: launch one first.");
    else say(offersHint, offered.length ? "" : OFFERS[state]);
    offersHint.hidden = !offersHint.textContent;
    fill(
      offers,
      offered.map((app) => {
        const opened = where(app);
        const ports = app.ports.length ? ` · port ${app.ports.join(", ")}` : "";
        return h(
          "li.bai-card",
          {},
          h("div.bai-card-text", {}, h("strong", {}, app.name), h("span.bai-hint", {}, `${app.protocol}${ports}`)),
          opened
            ? link(opened)
            : button("Open", (event) => desk.act(event.target, desk.ask("apps.open", { session: pick.id, app: app.name }), `${app.name} is open.`), "plain", { "aria-label": `Open ${app.name}` }),
        );
      }),
    );
  }

  function link(opened) {
    // Below the Jupyter server's own address, or on this computer; and nothing that a page would run.
    const isSafe = /^(https?:\/\/|\/(?!\/))/.test(opened.link);
    if (!isSafe) return h("span.bai-address", {}, h("code.bai-line", {}, `${opened.host}:${opened.port}`), copying(`${opened.host}:${opened.port}`, "Copy"));
    return h("a.bai-open", { href: opened.link, target: "_blank", rel: "noopener noreferrer" }, `${opened.host}:${opened.port}`, h("span.bai-unseen", {}, ` (${opened.app} of ${opened.session}, in a new tab)`));
  }

  function showOpen() {
    say(thereHint, open.length ? "" : "No app is open.");
    thereHint.hidden = open.length > 0;
    fill(
      there,
      open.map((each) =>
        h(
          "li.bai-card",
          {},
          h("div.bai-card-text", {}, h("strong", {}, each.app), h("span.bai-hint", {}, `of ${each.session}`)),
          link(each),
          button("Stop", (event) => desk.act(event.target, desk.ask("apps.close", { pid: each.pid }), `${each.app} of ${each.session} is closed.`), "plain", { "aria-label": `Stop ${each.app} of ${each.session}` }),
        ),
      ),
    );
    showOffers();
  }

  return {
    element,
    told(message) {
      if (message.problem !== undefined) desk.problem(message.problem, "apps");
      if (message.said) desk.say(message.said);
      if (message.sessions) {
        isRead = true;
        pick.set(message.sessions);
      }
      if (message.open) {
        open = message.open;
        showOpen();
      }
    },
    shown: (row) => pick.want(row),
  };
}
