// A button that saves a key. The key comes as the buffer of one answer and is kept nowhere.

export function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "bai-button bai-plain";
  button.textContent = "Download the key";
  button.addEventListener("click", () => {
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    const lost = () => {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    };
    try {
      Promise.resolve(model.send({ do: "download" })).catch(lost);
    } catch {
      lost();
    }
  });
  const listen = (message, buffers) => {
    if (message?.done === undefined) return;
    const asked = button.getAttribute("aria-busy") === "true"; // and not another view of it
    button.disabled = false;
    button.removeAttribute("aria-busy");
    if (!asked || !buffers?.length) return;
    const address = URL.createObjectURL(new Blob([buffers[0]], { type: "application/octet-stream" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = message.done;
    link.hidden = true;
    el.append(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(address);
  };
  model.on("msg:custom", listen);
  el.append(button);
  return () => model.off("msg:custom", listen);
}

export default { render };
