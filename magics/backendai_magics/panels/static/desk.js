// The page's end of the panel: intents go to the kernel, and what it tells goes to the parts.

const BUSY_AFTER = 1500; // ms without a word of the kernel after which it is said to be busy
const LOST_AFTER = 20000; // ms after which it may be gone
const HERE_EVERY = 40000; // ms; the kernel takes a view that is silent for long for closed,
const FORGOTTEN = 100000; // which one may be that has been hidden for so many ms

/** Return a link to the kernel.
 *
 *  on.tell(message, buffers): what a part is told.   on.waiting(state): "", "busy" or "lost".
 *  on.back(): what was begun for the view in the kernel may have ended meanwhile.
 */
export function open(model, on) {
  const view = Math.random().toString(36).slice(2);
  const asked = new Map(); // number of an intent → {resolve, reject, heard}
  let number = 0;
  let shown = "";
  let closed = false;

  function receive(message, buffers) {
    on.waiting("");
    if (message.ack !== undefined) return;
    if (message.done === undefined) return on.tell(message, buffers ?? []);
    const waiter = asked.get(message.done);
    if (waiter === undefined) return; // another view of the same panel has asked
    asked.delete(message.done);
    clearTimeout(waiter.busy);
    clearTimeout(waiter.lost);
    if (message.error) waiter.reject(message.error);
    else waiter.resolve({ value: message.value, buffers: buffers ?? [] });
  }

  function heard(message) {
    const waiter = asked.get(message.ack);
    if (waiter === undefined) return;
    clearTimeout(waiter.busy);
    clearTimeout(waiter.lost);
  }

  const listen = (message, buffers) => {
    if (!message || typeof message !== "object") return;
    heard(message);
    receive(message, buffers);
  };
  model.on("msg:custom", listen);

  /** Send an intent; the promise is kept when it is done, and broken with {message, hint}. */
  function ask(what, more = {}, buffers = []) {
    number += 1;
    const id = `${view}.${number}`;
    const promise = new Promise((resolve, reject) => {
      asked.set(id, {
        resolve,
        reject,
        busy: setTimeout(() => on.waiting("busy"), BUSY_AFTER),
        lost: setTimeout(() => on.waiting("lost"), LOST_AFTER),
      });
    });
    const lost = () => {
      const waiter = asked.get(id);
      asked.delete(id);
      clearTimeout(waiter?.busy);
      clearTimeout(waiter?.lost);
      on.waiting("lost");
      waiter?.reject({ message: "No kernel hears this panel.", hint: "Run its cell again." });
    };
    try {
      // It may be a promise, in front ends that wait for a dead kernel.
      Promise.resolve(model.send({ ...more, do: what, id, view }, undefined, buffers)).catch(lost);
    } catch {
      lost();
    }
    return promise;
  }

  function show(part, word = "show") {
    shown = part;
    return ask(word, { part });
  }

  let beat = 0;
  function go() {
    clearInterval(beat);
    beat = setInterval(() => {
      if (shown && document.visibilityState === "visible") ask("here", { part: shown }).catch(() => {});
    }, HERE_EVERY);
  }
  go();

  let hidden = 0; // since when, in ms
  const turned = () => {
    if (document.visibilityState !== "visible") hidden = Date.now();
    else if (shown && !isAway) {
      show(shown).catch(() => {});
      if (Date.now() - hidden > FORGOTTEN) on.back();
    }
  };
  document.addEventListener("visibilitychange", turned);

  /** The view is in no page for now: nothing is asked, and the kernel asks nothing for it. */
  let isAway = false;
  function leave() {
    isAway = true;
    clearInterval(beat);
    ask("bye").catch(() => {});
  }

  /** The view is in a page again. */
  function come() {
    isAway = false;
    go();
    if (shown) show(shown).catch(() => {});
    on.back();
  }

  function close() {
    if (closed) return;
    closed = true;
    clearInterval(beat);
    document.removeEventListener("visibilitychange", turned);
    if (!isAway) ask("bye").catch(() => {});
    model.off("msg:custom", listen);
    for (const waiter of asked.values()) {
      clearTimeout(waiter.busy);
      clearTimeout(waiter.lost);
    }
    asked.clear();
  }

  return { ask, show, leave, come, close };
}
