import asyncio
import base64
import inspect
import json
import os
import sys
import threading
import time
import traceback
import zlib


class Requests:
    """What comes in: cells with what the query API has no field for, and calls."""

    def do_execute(self, code, silent, *args, **kwargs):
        work = self.request(code, silent, *args, **kwargs)
        # ipykernel 5 waits for futures only, later ones await what they are given.
        return (
            work if inspect.iscoroutinefunction(self.execute_raw) else asyncio.ensure_future(work)
        )

    async def request(self, code, silent, *args, **kwargs):
        head = {}
        mark, _, rest = code[:80].partition(" ")
        nonce = mark[len(MARK) :]
        if rest and mark.startswith(MARK) and nonce in self.nonces:
            line, _, code = code.partition("\n")
            head = json.loads(line[len(mark) :])
            self.nonce = nonce
            if "packet" in head:
                head, code = self.unpack(head["packet"])
        try:
            if not self.begin(head):
                return self.nothing()
            if "call" in head:
                return await self.call(head)
            return await self.cell(code, head, silent, args, kwargs)
        except KeyboardInterrupt as exc:  # just before or behind the user's code; it is no success
            return self.failure(exc)
        finally:
            self.flush_now()
            with self.stdin_lock, self.lock:
                self.kept.end()
                self.parent = None

    def unpack(self, name):
        try:
            packed = base64.b64decode("".join(self.packets.pop(name)))
            head, code = json.loads(zlib.decompress(packed).decode())
        except (KeyError, ValueError, zlib.error):
            return {}, "raise RuntimeError('This request did not arrive whole: send it again.')"
        return head, code

    def begin(self, head):
        parent = current_parent(self.kernel)
        if "key" in head and not self.kept.begin(head["key"], "call" not in head):
            return False  # its sender could not know that it had arrived
        self.origin = head.get("origin", self.origin)
        self.origins[request_id(parent)] = (self.origin, self.nonce)
        self.error = None
        while len(self.origins) > 10000:
            del self.origins[next(iter(self.origins))]
        with self.lock:
            self.parent = parent
            self.flush_late()
        self.live.begin(head.get("gap"))
        return True

    async def cell(self, code, head, silent, args, kwargs):
        options = dict(zip(("store_history", "user_expressions", "allow_stdin"), args), **kwargs)
        wanted = dict(head.get("options", {}))
        silent = wanted.pop("silent", silent)
        options.update({name: wanted[name] for name in wanted if name in options})
        numbered = "count" in head and not silent
        if numbered:
            self.pad(head["count"])
        if head:
            self.retell(code, silent, options)
        try:
            reply = await done(self.execute_raw(code, silent, **options))
        except Exception as exc:  # ipykernel itself failed, and would not even have replied
            reply = self.failure(exc)
        self.flush_now()
        if not head:
            return reply
        extra = {name: reply[name] for name in ("payload", "user_expressions") if reply.get(name)}
        # Not every error that is shown ends its cell, and not every one that does is shown.
        ended = error_of(reply) if reply["status"] == "error" else None
        if ended != self.error:
            extra["error"] = ended
        if numbered and reply["execution_count"] != head["count"] - (not options["store_history"]):
            extra["count"] = reply["execution_count"]  # the cell has run others
        if self.is_busy_behind():
            extra["late"] = True
        names = self.changed_names()
        if names is not None:
            extra["names"] = names
        if extra:
            self.emit("reply", extra, self.parent)
        return reply

    def failure(self, exc):
        lines = traceback.format_exception(type(exc), exc, exc.__traceback__)
        content = {"ename": type(exc).__name__, "evalue": str(exc), "traceback": lines}
        self.emit("error", content, self.parent)
        count = self.shell.execution_count
        return dict(content, status="error", execution_count=count, payload=[], user_expressions={})

    def retell(self, code, silent, options):
        """Let the request read as the front end's own, for code that looks at it."""
        content = (self.parent or {}).get("content")
        if isinstance(content, dict):
            told = dict(options, code=code, silent=silent)
            content.update({name: told[name] for name in content if name in told})

    def pad(self, count):
        # Cells that ran elsewhere have numbers, too; In[n] is to be that of the notebook.
        history = self.shell.history_manager
        for inputs in (history.input_hist_parsed, history.input_hist_raw):
            missing = count - self.shell.execution_count
            inputs.extend([""] * max(0, missing))
        self.shell.execution_count = count

    async def call(self, head):
        try:
            result = await done(getattr(self, "call_" + head["call"])(**head.get("with", {})))
        except (Exception, KeyboardInterrupt) as exc:  # told to whoever called, who is elsewhere
            result = {"problem": "%s: %s" % (type(exc).__name__, exc)}
        self.flush_now()
        if self.is_busy_behind():
            self.emit("reply", {"late": True}, self.parent)
        self.emit("result", {"value": result}, self.parent)
        return self.nothing()

    def nothing(self):
        return {
            "status": "ok",
            "execution_count": self.shell.execution_count,
            "user_expressions": {},
            "payload": [],
        }

    def call_part(self, packet, text):
        self.packets.setdefault(packet, []).append(text)
        while len(self.packets) > PACKETS:
            del self.packets[next(iter(self.packets))]

    def call_replay(self, key, have):
        return self.kept.since(key, have)

    def call_late(self):
        return None

    def call_complete(self, code, position):
        return self.kernel.do_complete(code, position)

    def call_inspect(self, code, position, detail, omit):
        try:
            return self.kernel.do_inspect(code, position, detail, omit)
        except TypeError:  # before ipykernel 6.6
            return self.kernel.do_inspect(code, position, detail)

    def call_comm(self, messages):
        for message in messages:
            message["buffers"] = [
                memoryview(base64.b64decode(b)) for b in message.get("buffers", ())
            ]
            message["header"] = {"msg_type": message["kind"], "msg_id": self.origin}
            handle = getattr(self.kernel.comm_manager, message["kind"])
            handle(None, None, message)

    def call_restart(self):
        """Replace this interpreter by a fresh one with the same connection file."""
        threading.Thread(target=self.again, args=(time.monotonic(),)).start()

    def again(self, asked):
        time.sleep(0.15)  # until the request has been answered
        if time.monotonic() - asked > 0.6:
            return  # too late: a request sent to this interpreter now would be lost with it
        self.replace()

    def leave(self):
        """Replace this interpreter while it runs code; whoever waits for that is told its end."""
        parent = self.parent
        if parent is not None:
            ended = {"ename": "InterpreterRestarted", "evalue": "", "traceback": []}
            reply = dict(self.nothing(), status="error", **ended)
            ident = current_ident(self.kernel)
            # Its own thread is held up in the code, so nobody else writes to this socket now.
            self.send_raw(
                reply_socket(self.kernel), "execute_reply", reply, parent=parent, ident=ident
            )
            idle = {"execution_state": "idle"}
            self.send_raw(self.kernel.iopub_socket, "status", idle, parent=parent)
        time.sleep(0.15)  # until that is out
        self.replace()

    def replace(self):
        try:
            with open("/proc/self/cmdline", "rb") as file:
                argv = file.read().split(b"\0")[:-1]
        except OSError:
            argv = [sys.executable] + getattr(sys, "orig_argv", [""])[1:]
        self.unmark()
        os.chdir(self.cwd)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # they are pipes that nobody reads any more
        os.dup2(null, 2)
        os.execve(sys.executable, argv, self.environ)

    def is_busy_behind(self):
        """Something may go on saying things after the request."""
        for thread in threading.enumerate():
            if thread not in self.threads and thread is not self.live.thread:
                return True
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return False
        ours = asyncio.current_task()
        return any(task is not ours and is_of_user(task) for task in asyncio.all_tasks(running))

    def changed_names(self):
        hidden = self.shell.user_ns_hidden
        names = {
            name: type(value).__name__
            for name, value in list(self.shell.user_ns.items())[-NAMES:]
            if name not in hidden and not name.startswith("_")
        }
        if names == self.names.get(self.nonce):
            return None
        self.names[self.nonce] = names
        return names

    def ask_exit(self):
        # The kernel that the user means is the proxy: it ends, and sees to the session.
        keep = bool(self.shell.keepkernel_on_exit)
        self.shell.payload_manager.write_payload({"source": "ask_exit", "keepkernel": keep})

    def input_request(self, *args, **kwargs):
        prompt = str(args[0] if args else kwargs.get("prompt", ""))
        with self.stdin_lock:
            self.flush_now()
            while True:
                time.sleep(SETTLE)
                try:
                    value = self.input_raw(*args, **kwargs)
                except KeyboardInterrupt:
                    self.kept.add("stdout", prompt)
                    raise
                again = self.kept.asked(value, self.nonce)
                if again is None:
                    break
                if again:
                    self.replay(again)
            self.kept.add("stdout", prompt)  # the server's runner has written it
            return value
