// A table of many rows of which only those in view are in the page. Each row is as high as another.

import { h, fill } from "./dom.js";

const SPARE = 6; // rows above and below those in view

/** Return a table.
 *
 *  columns: [{key, label, className, sort: bool, make(cell, row), fill(cell, row)}]; make puts into a
 *  new cell what all rows have there, fill what this row says; fill is called again when it changes.
 *  height: of a row, in pixels.
 */
export function table({ label, columns, height, onsort, onkey }) {
  const heads = new Map();
  const headRow = h("tr", { "aria-rowindex": 1 });
  for (const column of columns) {
    const head = h(`th.${column.className}`, { scope: "col" });
    if (column.sort) {
      head.append(
        h(
          "button.bai-sort",
          { type: "button", onclick: () => onsort(column.key) },
          column.label,
          h("span.bai-arrow", { "aria-hidden": "true" }),
        ),
      );
    } else if (column.head) {
      head.append(column.head);
    } else {
      head.append(h("span", {}, column.label));
    }
    heads.set(column.key, head);
    headRow.append(head);
  }
  const above = h("tr.bai-space", { "aria-hidden": "true" });
  const below = h("tr.bai-space", { "aria-hidden": "true" });
  for (const space of [above, below]) space.append(h("td", { colSpan: columns.length }));
  const body = h("tbody", {}, above, below);
  const whole = h("table.bai-table", {}, h("caption.bai-unseen", {}, label), h("thead", {}, headRow), body);
  const box = h("div.bai-scroll", { tabIndex: 0, role: "region", "aria-label": label }, whole);

  let rows = [];
  let shown = new Map(); // key of a row → {line, row, version}
  let version = 0;
  let due = 0;

  function make(row) {
    const line = h("tr.bai-row", {});
    line.dataset.key = row.key;
    const cells = columns.map((column) => {
      const cell = h(`${column.isHead ? "th" : "td"}.${column.className}`, column.isHead ? { scope: "row" } : {});
      column.make?.(cell, row);
      line.append(cell);
      return cell;
    });
    return { line, cells, version: -1 };
  }

  function refresh(entry, row) {
    if (entry.row === row && entry.version === version) return;
    entry.row = row;
    entry.version = version;
    columns.forEach((column, index) => column.fill(entry.cells[index], row, entry.line));
  }

  function draw() {
    due = 0;
    const top = Math.floor(box.scrollTop / height);
    const count = Math.ceil((box.clientHeight || 400) / height);
    const begin = Math.max(0, Math.min(top - SPARE, rows.length - count - SPARE));
    const end = Math.min(rows.length, top + count + SPARE);
    const next = new Map();
    let place = above;
    for (let index = begin; index < end; index += 1) {
      const row = rows[index];
      const entry = shown.get(row.key) ?? make(row);
      refresh(entry, row);
      entry.line.setAttribute("aria-rowindex", index + 2);
      if (place.nextSibling !== entry.line) place.after(entry.line);
      place = entry.line;
      next.set(row.key, entry);
    }
    for (const [key, entry] of shown) {
      if (next.has(key)) continue;
      if (entry.line.contains(document.activeElement)) box.focus({ preventScroll: true });
      entry.line.remove();
    }
    shown = next;
    above.firstChild.style.height = `${begin * height}px`;
    below.firstChild.style.height = `${(rows.length - end) * height}px`;
    above.hidden = begin === 0;
    below.hidden = end === rows.length;
    whole.setAttribute("aria-rowcount", rows.length + 1);
  }

  function soon() {
    due ||= requestAnimationFrame(draw);
  }

  box.addEventListener("scroll", soon, { passive: true });
  box.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr.bai-row");
    const index = line ? rows.findIndex((row) => String(row.key) === line.dataset.key) : -1;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && index < 0 && event.target === box && rows.length && event.key === "ArrowDown" && box.scrollTop === 0) {
      event.preventDefault();
      return go(0, 0);
    }
    if (step && index >= 0 && event.target.tagName !== "INPUT") {
      event.preventDefault();
      go(index + step, [...line.children].findIndex((cell) => cell.contains(event.target)));
    } else if (step && index >= 0 && event.target.type === "checkbox") {
      event.preventDefault();
      go(index + step, [...line.children].findIndex((cell) => cell.contains(event.target)));
    } else if (index >= 0) {
      onkey?.(event, rows[index]);
    }
  });

  /** Put the focus into a column of a row, and the row into view. */
  function go(index, column) {
    if (index < 0 || index >= rows.length) return;
    const head = headRow.offsetHeight;
    const top = index * height;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + height > box.scrollTop + box.clientHeight - head)
      box.scrollTop = top + height - box.clientHeight + head;
    draw();
    const cell = shown.get(rows[index].key)?.line.children[column];
    (cell?.querySelector("button, input, a") ?? box).focus({ preventScroll: true });
  }

  const watch = new ResizeObserver(soon);
  watch.observe(box);

  return {
    element: box,
    /** Show rows, each with a key of its own. */
    set(list) {
      rows = list;
      soon();
    },
    /** Fill all rows in view anew: something that is no part of a row has changed. */
    touch() {
      version += 1;
      soon();
    },
    /** Show which column the rows are sorted by. */
    sorted(key, descending) {
      for (const [each, head] of heads) {
        if (each === key) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
        const arrow = head.querySelector(".bai-arrow");
        if (arrow) arrow.textContent = each === key ? (descending ? " ▾" : " ▴") : "";
      }
    },
    close() {
      watch.disconnect();
      cancelAnimationFrame(due);
    },
    draw,
    fill,
  };
}
