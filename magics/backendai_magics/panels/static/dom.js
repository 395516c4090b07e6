// Elements made by hand. Text from outside only ever becomes a text node or a property's value:
// nothing here, or in any other module of the panel, takes markup.

/** Make an element: h("button.bai-plain", {type: "button", onclick}, "Text", child, …). */
export function h(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

/** Append children; strings become text, arrays are flattened, what is empty is left out. */
export function add(element, children) {
  for (const child of children.flat(3)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child);
  }
  return element;
}

/** Replace all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** Set an element's text if it differs, so that a reader of the screen is not disturbed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Make a part of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let _numbered = 0;

/** Return an id that no other element of the page has. */
export function name(prefix) {
  _numbered += 1;
  return `bai-${prefix}-${_numbered}-${Math.random().toString(36).slice(2, 8)}`;
}

/** A control with its visible label. */
export function field(label, control, hint = "") {
  control.id = control.id || name("field");
  const told = hint ? h("span.bai-hint", { id: name("hint") }, hint) : null;
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div.bai-field", {}, h("label", { htmlFor: control.id }, label), control, told);
}

export function button(text, onclick, kind = "plain", properties = {}) {
  return h(`button.bai-button.bai-${kind}`, { type: "button", onclick, ...properties }, text);
}

/** A button that says for a moment that it has copied a text. */
export function copying(text, what) {
  const element = button(what, async () => {
    const value = typeof text === "function" ? text() : text;
    try {
      await navigator.clipboard.writeText(value);
      element.textContent = "Copied";
    } catch {
      element.textContent = "Copying is not allowed here";
    }
    setTimeout(() => (element.textContent = what), 2000);
  });
  return element;
}

/** An error with its next step. */
export function problem(error) {
  return [h("strong", {}, error.message), error.hint ? ` ${error.hint}` : ""];
}

/** How long something took or has been: "5 s", "12 min", "3 h 20 min", "4 d". */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 7 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** Bytes as people say them. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${amount >= 10 || unit === 0 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
