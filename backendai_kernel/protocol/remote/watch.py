import os
import threading
import time


class Watch:
    """Replaces the interpreter when a file asks for it, whatever its code is at.

    Code that ignores interrupts, or that waits in compiled code, lets no request through. A file can
    be written into the work folder all the same, and this thread looks for it. Code that keeps even
    threads from running cannot be helped.
    """

    def __init__(self, bai):
        self.bai = bai
        self.path = os.path.join(bai.cwd, ".backendai-restart")
        self.is_on = True
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        pid = os.getpid()
        while self.is_on and os.getpid() == pid:
            time.sleep(LOOK)
            if self.is_asked():
                self.bai.leave()

    def is_asked(self):
        try:
            with open(self.path) as file:
                asked = file.read(100).strip()
            if asked not in self.bai.nonces:
                return False  # it is still being written, or was taken back
            os.unlink(self.path)
        except (OSError, ValueError):
            return False
        return True
