// Virtual folders and files of sessions: looked through, filled by choosing or dropping, taken from.

import { button, field, fill, h, name, say, size } from "./dom.js";
import { formed } from "./formed.js";

const PIECE = 512 * 1024; // bytes of a file in one message
const NO_FOLDERS = {
  message: "A page sends files, no folders.",
  hint: "Drop the files in it; `%bai vfolder upload` and `%bai upload` take folders.",
};

export function folders(desk) {
  let places = []; // [{kind, id, label}]
  let sessions = [];
  let known = [];
  let isRead = false;
  let place = null;
  let path = [];
  let turn = 0;

  const choice = h("select", { onchange: () => go(places[Number(choice.value)] ?? null, []) });
  const pick = field("Folder", choice);
  pick.classList.add("bai-inline", "bai-pick-session");
  const chooser = h("input", { type: "file", multiple: true, hidden: true, tabIndex: -1, "aria-hidden": "true", onchange: () => send([...chooser.files]) });
  const add = button("Upload …", () => chooser.click(), "main");
  const crumbs = h("nav.bai-crumbs", { "aria-label": "Where in the folder" });
  const hint = h("p.bai-hint", { role: "status" }, "Asking the server …");
  const list = h("ul.bai-files", { "aria-label": "Files" });
  const going = h("div.bai-going", { role: "status" });
  const drop = h("div.bai-drop", {}, crumbs, list, hint);
  const fresh = h("div.bai-fresh", { hidden: true });
  const make = button("New folder …", () => unfold(), "plain", { "aria-expanded": "false" });
  const element = h("div.bai-part", {}, h("div.bai-bar", {}, pick, h("span.bai-gap"), make, add, chooser), fresh, drop, going);
  let form = null;

  // Files may be dropped anywhere in this part. What nobody takes the browser would open in place of
  // the notebook, so they are taken also where they cannot be sent.
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  element.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = place ? "copy" : "none";
    drop.classList.toggle("bai-over", Boolean(place));
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) drop.classList.remove("bai-over");
  });
  element.addEventListener("drop", (event) => {
    drop.classList.remove("bai-over");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    if (place) send(dropped(event.dataTransfer));
  });

  function unfold() {
    fresh.hidden = !fresh.hidden;
    make.setAttribute("aria-expanded", String(!fresh.hidden));
    if (fresh.hidden) return;
    if (!form) {
      form = formed(desk, "folders");
      fresh.append(form.element);
    }
    tellWhere();
  }

  /** Have the form know where a new folder may be. */
  function tellWhere() {
    if (fresh.hidden) return;
    const here = place ? { ...where(), label: [place.label, ...path].join("/") } : { kind: "", place: "", path: ".", label: "" };
    desk.act(null, desk.ask("folders.at", here));
  }

  function dropped(transfer) {
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const files = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory);
    if (files.length < items.length) desk.problem(NO_FOLDERS, "folders");
    return files.map((item) => item.getAsFile());
  }

  const where = () => ({ kind: place.kind, place: place.id, path: path.join("/") || "." });

  function showPlaces() {
    places = [
      ...known.map((each) => ({ kind: "folder", id: each.id, label: each.may && each.may !== "wd" && each.may !== "rw" ? `${each.name} (read only)` : each.name })),
      ...sessions.map(([id, label]) => ({ kind: "session", id, label: `Files of ${label}` })),
    ];
    const same = places.findIndex((each) => place && each.kind === place.kind && each.id === place.id);
    fill(choice, places.map((each, index) => h("option", { value: index }, each.label)));
    pick.hidden = add.hidden = !places.length;
    if (same >= 0) choice.value = same;
    else go(places[0] ?? null, []);
  }

  function go(next, parts) {
    place = next;
    path = parts;
    if (place) choice.value = places.findIndex((each) => each.kind === place.kind && each.id === place.id);
    look();
  }

  async function look() {
    turn += 1;
    const mine = turn;
    showCrumbs();
    tellWhere();
    if (!place) {
      fill(list);
      say(hint, isRead ? "There are no virtual folders, and no session runs." : "Asking the server …");
      return;
    }
    say(hint, "Asking the server …");
    const answer = await desk.act(null, desk.ask("folders.list", where()));
    if (mine !== turn) return;
    if (!answer) {
      fill(list);
      say(hint, "This cannot be shown.");
      return;
    }
    const { rows, more } = answer.value;
    fill(list, rows.map(row));
    say(hint, rows.length ? (more ? `${more} more are left out.` : "") : "It is empty. Drop files here, or choose them with Upload.");
  }

  function showCrumbs() {
    crumbs.hidden = !place;
    if (!place) return;
    const steps = [place.label, ...path];
    fill(
      crumbs,
      steps.map((label, index) => [
        index ? h("span", { "aria-hidden": "true" }, "›") : null,
        index === steps.length - 1
          ? h("span.bai-here", { "aria-current": "page" }, label)
          : button(label, () => go(place, path.slice(0, index)), "small"),
      ]),
    );
  }

  function row([label, isFolder, bytes, time]) {
    const when = typeof time === "number" ? new Date(time * 1000) : new Date(time);
    return h(
      "li.bai-file",
      {},
      h("span.bai-mark", { "aria-hidden": "true" }, isFolder ? "▸" : ""),
      isFolder
        ? button(label, () => go(place, [...path, label]), "link", { "aria-label": `Folder ${label}` })
        : h("span.bai-clip", { title: label }, label),
      h("span.bai-hint", {}, isFolder ? "folder" : size(bytes)),
      h("span.bai-hint.bai-when", {}, Number.isNaN(when.getTime()) || !time ? "" : when.toLocaleString()),
      isFolder ? h("span") : button("Download", (event) => take(event.target, label), "small", { "aria-label": `Download ${label}` }),
    );
  }

  async function take(target, label) {
    const from = { ...where(), path: [...path, label].join("/") };
    const answer = await desk.act(target, desk.ask("folders.download", from));
    if (!answer) return;
    const address = URL.createObjectURL(new Blob(answer.buffers, { type: "application/octet-stream" }));
    const link = h("a", { href: address, download: answer.value.name, hidden: true });
    element.append(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(address);
    desk.say(`${answer.value.name} is saved (${size(answer.value.size)}).`);
  }

  async function send(files) {
    const to = where();
    chooser.value = "";
    for (const file of files) {
      const bar = h("progress", { max: file.size || 1, value: 0, id: name("bar") });
      const line = h("div.bai-progress-head", {}, h("label", { htmlFor: bar.id }, `Uploading ${file.name} `), bar);
      going.append(line);
      let token = "";
      try {
        token = (await desk.ask("folders.begin", { name: file.name, size: file.size })).value;
        for (let offset = 0; offset < file.size; offset += PIECE) {
          const piece = await file.slice(offset, offset + PIECE).arrayBuffer();
          bar.value = (await desk.ask("folders.piece", { token, offset }, [piece])).value;
        }
        const { value } = await desk.ask("folders.finish", { ...to, token });
        desk.say(`${value.name} is there: ${size(value.size)}, SHA-256 ${value.sha256.slice(0, 16)}…`);
      } catch (error) {
        desk.problem(error, "folders");
        if (token) desk.ask("folders.abandon", { token }).catch(() => {});
      } finally {
        line.remove();
      }
    }
    look();
  }

  return {
    element,
    told(message) {
      if (message.problem !== undefined) desk.problem(message.problem, "folders");
      if (message.folders) known = message.folders;
      if (message.sessions) sessions = message.sessions;
      if (message.folders || message.sessions) {
        isRead = true;
        showPlaces();
      }
      const made = message.made && places.find((each) => each.kind === "folder" && each.id === message.made);
      if (made) {
        go(made, []);
        desk.say(`The folder ${made.label} is there.`);
      }
      if (message.changed && place?.id === message.changed) look();
    },
    close: () => form?.close(),
    /** Show the files of a session that somebody has asked for elsewhere. */
    shown(row) {
      if (!row) return;
      if (!sessions.some(([id]) => id === row.id)) sessions = [[row.id, row.name], ...sessions];
      place = { kind: "session", id: row.id, label: `Files of ${row.name}` };
      path = [];
      showPlaces();
      look();
    },
  };
}
