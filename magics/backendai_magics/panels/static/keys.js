// SSH into a session: its key and host key, the line to copy, the key as a file.

import { choosing } from "./choosing.js";
import { button, copying, fill, h, say } from "./dom.js";

export function keys(desk) {
  let facts = null;
  const pick = choosing(look);
  const hint = h("p.bai-hint", {}, "Asking the server …");
  const lines = h("div.bai-same");
  const list = h("dl.bai-facts.bai-wide");
  const fetch = button("Fetch the key", (event) => act(event.target, "fetch", "The key is here, and the host key is proved."), "main");
  const download = button("Download the key", (event) => save(event.target));
  const configure = button("Write the SSH configuration", (event) => write(event.target));
  const acts = h("div.bai-actions", {}, fetch, download, configure);
  const saved = h("p.bai-hint", { role: "status" });
  const body = h("div.bai-stack", { hidden: true }, lines, list, acts, saved);
  const element = h("div.bai-part", {}, h("div.bai-bar", {}, pick.element), hint, body);

  async function look(id) {
    facts = null;
    say(saved, "");
    show();
    if (!id) return;
    const answer = await desk.act(null, desk.ask("keys.look", { session: id }));
    if (answer && pick.id === id) {
      facts = answer.value;
      show();
    }
  }

  async function act(target, what, done) {
    const id = pick.id;
    const answer = await desk.act(target, desk.ask(`keys.${what}`, { session: id }), done);
    if (answer && pick.id === id) {
      facts = answer.value;
      show();
    }
    return answer;
  }

  async function save(target) {
    const answer = await act(target, "download", "");
    if (!answer?.buffers.length) return;
    const { name, path, mode } = answer.value;
    const address = URL.createObjectURL(new Blob([answer.buffers[0]], { type: "application/octet-stream" }));
    const link = h("a", { href: address, download: name, hidden: true });
    element.append(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(address);
    say(saved, `Saved as ${name}. OpenSSH wants it private: chmod 600 ${name}. The copy on the kernel's computer, ${path}, has mode ${mode}.`);
  }

  async function write(target) {
    const answer = await desk.act(target, desk.ask("keys.config", {}));
    if (!answer) return;
    const { written, hosts } = answer.value;
    desk.say(`${written.length ? `Wrote ${written.join(", ")}` : "Everything was as it should be"}; ${hosts.length} host${hosts.length === 1 ? "" : "s"}.`);
    look(pick.id);
  }

  function line(label, text, remark = "") {
    return h("div.bai-same-line", {}, h("span.bai-label", {}, label), h("span", {}, h("code.bai-line", {}, text), remark && h("span.bai-hint", {}, ` ${remark}`)), copying(text, "Copy"));
  }

  function show() {
    body.hidden = !facts;
    hint.hidden = Boolean(facts);
    say(hint, pick.id ? "Asking the server …" : "No session runs: launch one first.");
    if (!facts) return;
    fill(
      lines,
      line("In a terminal", facts.command),
      line("In OpenSSH, VS Code …", facts.line, facts.configured ? "" : "once the configuration is written"),
    );
    const rows = [
      ["Key", facts.fetched ? facts.fingerprint || "fetched" : "not fetched yet"],
      ["Host key", facts.fetched ? `${facts.host_fingerprint}, proved to be the session's` : "proved when the key is fetched"],
      ["On disk", facts.fetched ? `${facts.path} (mode ${facts.mode}, yours alone)` : "nothing"],
      ["Configuration", facts.configured ? `${facts.config} knows your sessions` : `${facts.config} does not know your sessions yet`],
    ];
    fill(list, rows.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
    fetch.hidden = facts.fetched;
  }

  return {
    element,
    told(message) {
      if (message.problem !== undefined) desk.problem(message.problem, "keys");
      if (message.sessions) {
        pick.set(message.sessions);
        if (!message.sessions.length) show();
      }
    },
    shown: (row) => pick.want(row),
  };
}
