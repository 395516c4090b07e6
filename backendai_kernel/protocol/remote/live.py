import threading
import time

LONGEST = 86400  # seconds


class Live:
    """Ends a poll that the server holds, as soon as there is something to bring.

    A question in the midst of the cell makes the server answer at once, with all output so far. The
    answer that comes back is a number: the seconds from that question to the next one.
    """

    def __init__(self, bai):
        self.bai = bai
        self.is_on = False
        self.pending = threading.Event()
        self.thread = None
        self.next_at = 0.0

    def begin(self, gap):
        self.is_on = gap is not None
        self.next_at = time.monotonic() + (gap or 0)
        self.pending.clear()

    def wake(self):
        if not self.is_on or self.pending.is_set():
            return
        self.pending.set()
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def run(self):
        while True:
            self.pending.wait()
            time.sleep(max(SETTLE, self.next_at - time.monotonic()))
            with self.bai.stdin_lock:
                parent = self.bai.parent
                if parent is not None and self.pending.is_set() and self.is_on:
                    self.ask(parent)
                else:
                    self.pending.clear()

    def ask(self, parent):
        # The stdin lock is held until the answer is there, and the request that runs waits for the
        # lock before it ends: an answer that came later would be taken for that of an input().
        kernel = self.bai.kernel
        self.bai.flush_now()
        self.pending.clear()  # what comes from here on may be too late for this question
        time.sleep(SETTLE)
        prompt = "\x1b]bai;" + self.bai.nonce + "\x07"
        content = {"prompt": prompt, "password": False}
        ident = current_ident(kernel)
        socket = kernel.stdin_socket
        self.bai.send_raw(socket, "input_request", content, parent=parent, ident=ident)
        asked = time.monotonic()
        # The server's runner passes nothing on before the answer is there, so nothing is gained by
        # giving up: a client may be back from a long way.
        while time.monotonic() < asked + LONGEST:
            if socket.poll(20 if time.monotonic() < asked + 10 else 500):
                try:
                    value = self.bai.session.recv(socket)[1]["content"]["value"]
                    again = self.bai.kept.asked(value, self.bai.nonce)
                    gap = 0.0 if again is not None else float(value)
                except (ValueError, TypeError, KeyError):
                    break
                if again:
                    self.bai.replay(again)
                if again is not None:
                    self.pending.set()  # that was no answer to this question: ask again
                self.next_at = asked + gap
                return
        self.is_on = False  # no number, or no answer: it is not to be asked again in this request
