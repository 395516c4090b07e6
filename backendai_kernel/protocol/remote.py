# Runs inside the session's own interpreter, before any code of the user: Python 3.8 and later,
# ipykernel 5 and later, nothing else installed. It is sent as text, never imported here.
#
# The server's runner keeps one MIME type of an output, chokes on HTML, and drops display updates,
# comms, pager and whatever a thread says after its cell. So all that ipykernel sends is caught where
# it leaves, in Session.send, and goes out as an envelope: a display whose only type is an SVG
# comment, which passes unchanged, in order, and without the cut that text is subject to.
#
# What the kernel proxy wants is in a comment line before the code: "#%bai:NONCE {json}". What is too
# long for one request comes in packed parts before it.
import asyncio
import atexit
import base64
import functools
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
import zlib

VERSION = 2
PART = 192 * 1024  # bytes of JSON in a part; base64 makes 256 KiB of it
TEXT = 2 * 1024 * 1024  # characters of a stream message: at most 8 of the 10 MiB that pass
LATE = 4096  # messages kept for the next request
NAMES = 2000  # names in a snapshot
PACKETS = 8  # requests whose parts are kept until they are whole
FLUSH = 0.05  # seconds that a stream keeps text; ipykernel has 0.2
SETTLE = 0.02  # seconds: a question travels by another socket than the output before it
RICH = frozenset(
    "display_data update_display_data execute_result clear_output error "
    "comm_open comm_msg comm_close".split()
)
DEBUGGERS = ("debugpy", "pydevd")  # they wait for a front end that never comes here
ENDINGS = ("error", "reply", "result", "hello")  # the request is over in a moment


class Bai:
    version = VERSION

    def __init__(self, shell):
        self.shell = shell
        self.kernel = shell.kernel
        self.session = self.kernel.session
        self.send_raw = self.session.send
        self.execute_raw = self.kernel.do_execute
        self.input_raw = self.kernel._input_request
        self.cwd = os.getcwd()
        self.environ = dict(os.environ)
        self.lock = threading.RLock()  # one envelope at a time
        self.stdin_lock = threading.Lock()  # one question at a time
        self.threads = set(threading.enumerate())
        self.number = 0
        self.parent = None  # the request that runs, whole: what is sent now must be part of it
        self.origins = {}  # id of a request here -> id of the cell or comm message there
        self.origin = ""
        self.late = []
        self.error = None  # the last one that this request has shown
        self.names = None
        self.packets = {}  # name of a request that comes in parts -> what has come of it
        self.live = Live(self)
        self.streams = (sys.stdout, sys.stderr)
        self.mark_path, self.pid = "", os.getpid()
        self.start_raw = threading.Thread.start
        self.begin_raw = threading.Thread._bootstrap_inner

    def install(self):
        self.session.send = self.send
        self.kernel.do_execute = self.do_execute
        self.kernel._input_request = self.input_request
        self.shell.ask_exit = self.ask_exit
        for stream in self.streams:
            stream.flush_interval = FLUSH
        if getattr(sys.breakpointhook, "__module__", "").split(".")[0] in DEBUGGERS:
            sys.breakpointhook = sys.__breakpointhook__
        if hasattr(self.shell, "set_thread_parent"):
            self.follow_threads()
        self.wake_on_signals()
        self.shell.ask_exit = self.ask_exit
        for stream in self.streams:
            stream.flush_interval = FLUSH
        if getattr(sys.breakpointhook, "__module__", "").split(".")[0] in DEBUGGERS:
            sys.breakpointhook = sys.__breakpointhook__
        self.follow_threads()

    def wake_on_signals(self):
        # A loop that sleeps in an await takes notice of a SIGINT when something else wakes it, as
        # late as that may be. What wakes it for another thread wakes it for a signal, too.
        try:
            waker = asyncio.get_event_loop()._csock.fileno()
            before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        except (AttributeError, RuntimeError, ValueError):
            return  # another kind of loop, or not the main thread
        if before != -1:
            signal.set_wakeup_fd(before)

    def uninstall(self):
        self.session.send = self.send_raw
        self.kernel.do_execute = self.execute_raw
        self.kernel._input_request = self.input_raw
        self.shell.__dict__.pop("ask_exit", None)
        for stream in self.streams:
            stream.__dict__.pop("flush_interval", None)
        threading.Thread.start = self.start_raw
        threading.Thread._bootstrap_inner = self.begin_raw

    def follow_threads(self):
        """Have what a thread says belong to the request that started it.

        ipykernel 7.2 and later take it to belong to whatever runs when it is said. Before 7.0 that
        is so for what is displayed, and before 6.29 for text, too, which we leave so. 7.0 and 7.1
        know no request at all in a thread that displays something, and raise.
        """
        shell, start_raw, begin_raw = self.shell, self.start_raw, self.begin_raw
        is_told = hasattr(shell, "set_thread_parent")
        publisher = shell.display_pub
        is_lost = isinstance(getattr(type(publisher), "parent_header", None), property)

        def start(thread):
            thread._bai_parent = shell.get_parent() if is_told else thread_parent() or self.parent
            return start_raw(thread)

        def begin(thread):
            parent = thread_parent(thread)
            if parent and is_told:
                del thread._bai_parent
                shell.set_thread_parent(parent)
            elif parent and is_lost:
                publisher.set_parent(parent)
            begin_raw(thread)

        threading.Thread.start = functools.wraps(start_raw)(start)
        threading.Thread._bootstrap_inner = begin

    def mark(self):
        """Leave a link by which the server can be asked whether this process lives; its name.

        Listing a folder goes through links and needs nothing of this interpreter; what is listed
        are the files it has open, none when it is gone (API reference 4.10). It lies in IPython's
        own folder for such things if that can be listed, and is gone with the interpreter.
        """
        target = "/proc/%d/fd" % self.pid
        if not os.path.isdir(target):
            return ""
        folder = getattr(self.shell.profile_dir, "pid_dir", "") or self.cwd
        if os.path.relpath(folder, self.cwd).startswith(".."):
            folder = self.cwd  # nothing outside can be listed
        self.mark_path = os.path.join(folder, ".backendai-interpreter")
        self.unmark()
        try:
            os.symlink(target, self.mark_path)
        except OSError:
            return ""
        atexit.register(self.unmark)
        return os.path.relpath(self.mark_path, self.cwd)

    def unmark(self):
        if os.getpid() != self.pid:
            return  # a forked child ends, and this process lives
        try:
            os.unlink(self.mark_path)
        except OSError:
            pass  # none was there, or its folder went before it

    # -- outwards ---------------------------------------------------------------------------------

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
                self.send_raw(stream, "stream", piece, parent=current, ident=ident)
                self.live.wake()
            else:
                self.emit("stream", piece, parent)

    def emit(self, kind, content, parent=None, metadata=None, buffers=None):
        asked = request_id(thread_parent() or parent)
        origin = self.origins.get(asked, self.origin)
        if kind == "error":
            self.error = error_of(content)
        data = content.get("data") if kind == "comm_msg" else None
        state = data.get("state") if isinstance(data, dict) else None
        if isinstance(state, dict) and state.get("msg_id") in self.origins:
            # An Output widget takes what belongs to this request, by the name it has over there.
            state["msg_id"] = self.origins[state["msg_id"]]
        buffers = [base64.b64encode(buffer).decode() for buffer in buffers or ()]
        item = [kind, content, metadata or {}, origin, buffers]
        body = json.dumps(item, default=plain).encode("utf-8", "backslashreplace")
        with self.lock:
            if self.parent is None:
                self.late = self.late[1 - LATE :] + [body]
            else:
                self.seal(body)
                if kind not in ENDINGS:
                    self.live.wake()

    def seal(self, body):
        self.number += 1
        count = (len(body) + PART - 1) // PART
        for index in range(count):
            part = body[index * PART : (index + 1) * PART]
            mark = (VERSION, self.nonce, self.number, index, count, zlib.crc32(part))
            comment = "<!--bai:%d:%s:%d:%d:%d:%d:" % mark + base64.b64encode(part).decode() + "-->"
            content = {"data": {"image/svg+xml": comment}, "metadata": {}, "transient": {}}
            self.send_raw(self.kernel.iopub_socket, "display_data", content, parent=self.parent)

    def flush_late(self):
        with self.lock:
            waiting, self.late = self.late, []
            for body in waiting:
                self.seal(body)

    # -- requests ---------------------------------------------------------------------------------

    def do_execute(self, code, silent, *args, **kwargs):
        work = self.request(code, silent, *args, **kwargs)
        # ipykernel 5 waits for futures only, later ones await what they are given.
        return (
            work if inspect.iscoroutinefunction(self.execute_raw) else asyncio.ensure_future(work)
        )

    async def request(self, code, silent, *args, **kwargs):
        head = {}
        mark = "#%bai:" + self.nonce + " "
        if code.startswith(mark):
            line, _, code = code.partition("\n")
            head = json.loads(line[len(mark) :])
            if "packet" in head:
                head, code = self.unpack(head["packet"])
        self.begin(head)
        try:
            if "call" in head:
                return await self.call(head)
            return await self.cell(code, head, silent, args, kwargs)
        finally:
            self.flush_now()
            with self.stdin_lock, self.lock:
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
        self.origin = head.get("origin", self.origin)
        self.origins[request_id(parent)] = self.origin
        self.error = None
        while len(self.origins) > 10000:
            del self.origins[next(iter(self.origins))]
        with self.lock:
            self.parent = parent
            self.flush_late()
        self.live.begin(head.get("gap"))

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

    def flush_now(self):
        for stream in self.streams:
            stream.flush()
        self.mend_streams()

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
        except Exception as exc:  # told to whoever called, who is not in this process
            result = {"problem": "%s: %s" % (type(exc).__name__, exc)}
        self.flush_now()
        if self.is_busy_behind():
            self.emit("reply", {"late": True}, self.parent)
        self.emit("result", {"value": result}, self.parent)
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
        if names == self.names:
            return None
        self.names = names
        return names

    def ask_exit(self):
        # The kernel that the user means is the proxy: it ends, and sees to the session.
        keep = bool(self.shell.keepkernel_on_exit)
        self.shell.payload_manager.write_payload({"source": "ask_exit", "keepkernel": keep})

    def input_request(self, *args, **kwargs):
        with self.stdin_lock:
            self.flush_now()
            time.sleep(SETTLE)
            return self.input_raw(*args, **kwargs)


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
        while time.monotonic() < asked + 10:
            if socket.poll(20):
                try:
                    gap = float(self.bai.session.recv(socket)[1]["content"]["value"])
                except (ValueError, TypeError, KeyError):
                    break
                self.next_at = asked + gap
                return
        self.is_on = False  # no number, or no answer: it is not to be asked again in this request


def thread_parent(thread=None):
    return (thread or threading.current_thread()).__dict__.get("_bai_parent")


def current_parent(kernel):
    if hasattr(kernel, "get_parent"):
        return kernel.get_parent("shell")
    return kernel._parent_header


def current_ident(kernel):
    ident = kernel._parent_ident
    try:
        return ident["shell"]
    except TypeError:
        return ident


def request_id(parent):
    header = (parent or {}).get("header", parent) or {}
    return header.get("msg_id", "")


def error_of(content):
    return {name: content.get(name) for name in ("ename", "evalue", "traceback")}


def is_of_user(task):
    frame = getattr(task.get_coro(), "cr_frame", None)
    module = frame.f_globals.get("__name__", "").split(".")[0] if frame else "ipykernel"
    return module not in ("ipykernel", "tornado", "zmq", "jupyter_client", "_backendai")


async def done(result):
    return await result if inspect.isawaitable(result) else result


def plain(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode().rstrip("\n")
    for convert in ("isoformat", "tolist"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if hasattr(value, "__iter__"):
        return list(value)
    return repr(value)


def forget(shell):
    # This very cell must not be seen: not in In, not in the count, not in %history.
    history = shell.history_manager
    for inputs in (history.input_hist_parsed, history.input_hist_raw):
        if len(inputs) > 1:
            inputs.pop()
    shell.execution_count -= 1
    history.enabled = False


def main(shell, nonce):
    bai = getattr(shell, "_bai", None)
    is_fresh = bai is None and len(shell.history_manager.input_hist_raw) <= 2
    forget(shell)
    if bai is not None and getattr(bai, "version", 0) != VERSION:
        bai.uninstall()  # of another release of the kernel proxy
        bai = None
    if bai is None:
        bai = shell._bai = Bai(shell)
        bai.nonce = nonce
        bai.install()
    else:
        bai.nonce = nonce  # another kernel was here
    import ipykernel
    import IPython

    bai.parent = current_parent(bai.kernel)
    bai.emit(
        "hello",
        {
            "version": VERSION,
            "is_fresh": is_fresh,
            "pid": os.getpid(),
            "mark": bai.mark(),
            "python": "%d.%d.%d" % sys.version_info[:3],
            "ipython": IPython.__version__,
            "ipykernel": ipykernel.__version__,
        },
    )
    bai.parent = None
