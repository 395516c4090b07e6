import base64
import json
import threading
import zlib


class Output:
    """What goes out: every message that ipykernel sends, at the one place where all of it leaves."""

    def send(
        self,
        stream,
        msg_or_type,
        content=None,
        parent=None,
        ident=None,
        buffers=None,
        track=False,
        header=None,
        metadata=None,
    ):
        kind = msg_or_type
        if isinstance(msg_or_type, dict):
            kind = msg_or_type["header"]["msg_type"]
            content = msg_or_type["content"]
            parent = msg_or_type["parent_header"]
            metadata = metadata or msg_or_type.get("metadata")
            buffers = buffers or msg_or_type.get("buffers")
        if kind in RICH:
            self.emit(kind, content, parent, metadata, buffers)
        elif kind == "stream":
            self.emit_text(stream, content, parent, ident)
        else:
            return self.send_raw(
                stream, msg_or_type, content, parent, ident, buffers, track, header, metadata
            )

    def emit_text(self, stream, content, parent, ident):
        current = self.parent
        text = content["text"]
        for start in range(0, len(text), TEXT):
            piece = {"name": content["name"], "text": text[start : start + TEXT]}
            if current is not None and request_id(parent) == request_id(current):
                if piece["name"] in ("stdout", "stderr"):
                    self.kept.add(piece["name"], piece["text"])
                self.send_raw(stream, "stream", piece, parent=current, ident=ident)
                self.live.wake()
            else:
                self.emit("stream", piece, parent)

    def emit(self, kind, content, parent=None, metadata=None, buffers=None):
        asked = request_id(thread_parent() or parent)
        origin, nonce = self.origins.get(asked, (self.origin, self.nonce))
        if kind == "error":
            self.error = error_of(content)
        data = content.get("data") if kind == "comm_msg" else None
        state = data.get("state") if isinstance(data, dict) else None
        if isinstance(state, dict) and state.get("msg_id") in self.origins:
            # An Output widget takes what belongs to this request, by the name it has over there.
            state["msg_id"] = self.origins[state["msg_id"]][0]
        buffers = [base64.b64encode(buffer).decode() for buffer in buffers or ()]
        texts = self.as_json([kind, content, metadata or {}, origin, buffers])
        with self.lock:
            if self.parent is None or nonce != self.nonce:
                self.late = self.late[1 - LATE :] + [(nonce, texts)]
            else:
                self.seal(texts)
                if kind not in ENDINGS:
                    self.live.wake()

    def as_json(self, item):
        """Return JSON in pieces: large texts stand by themselves, and are not copied.

        json would look at each letter twice. Of a picture there are megabytes, none to be escaped.
        """
        large, content = {}, item[1]
        data = content.get("data")
        if item[0] in DISPLAYS and isinstance(data, dict):
            large = {name: text for name, text in data.items() if needs_no_json(text)}
        places = {name: "%s:%d" % (self.nonce, at) for at, name in enumerate(large)}
        if large:
            item = [item[0], dict(content, data=dict(data, **places))] + item[2:]
        # The letter with which a comment could end; JSON has it in its strings only.
        texts = [json.dumps(item, default=plain).replace(">", "\\u003e")]
        for name in large:
            before, _, after = texts.pop().partition(places[name])
            texts += [before, large[name], after]
        return texts

    def seal(self, texts, is_kept=True):
        number = next(self.numbers)
        if is_kept:
            self.kept.add("rich", texts, number)
        count = sum(1 for _ in parts_of(texts))
        for index, (part, written) in enumerate(parts_of(texts)):
            mark = (VERSION, self.nonce.encode(), number, index, count, zlib.crc32(part))
            # As JSON at once, for the same reason.
            content = b"".join((CARRIER_BEGIN % mark, written, CARRIER_END))
            if "json" not in self.session.packer:
                content = json.loads(content)
            self.send_raw(self.kernel.iopub_socket, "display_data", content, parent=self.parent)

    def replay(self, asked):
        """Send once more what a lost answer took along; see `protocol.envelope.Replay`.

        That is done by the thread that sends: whatever it has sent by then is told, and whatever it
        sends later comes behind. What waits to be sent is told by its number.
        """
        done = threading.Event()

        def send():
            try:
                told = dict(self.kept.since(asked["key"], asked["have"]), serial=asked["serial"])
                if self.parent is not None:
                    texts = self.as_json(["replay", told, {}, self.origin, []])
                    self.seal(texts, is_kept=False)
            finally:
                done.set()

        thread = getattr(self.kernel.iopub_socket, "io_thread", None)
        if thread is None:
            send()
        else:
            thread.schedule(send)
        done.wait(10)

    def flush_late(self):
        with self.lock:
            waiting, self.late = self.late, []
            for nonce, texts in waiting:
                if nonce == self.nonce:
                    self.seal(texts)
                else:  # another client's
                    self.late.append((nonce, texts))

    def flush_now(self):
        for stream in self.streams:
            stream.flush()
        self.mend_streams()

    def mend_streams(self):
        # IPython runs nothing while these are None, and ipykernel ends no cell when it cannot flush
        # them: not even the cell that puts them right.
        for name, stream in zip(("stdout", "stderr"), self.streams):
            try:
                getattr(sys, name).flush()
                is_good = hasattr(getattr(sys, name), "write")
            except Exception:  # there may be anything, and it may be closed
                is_good = False
            if not is_good:
                setattr(sys, name, stream)
