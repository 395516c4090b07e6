import asyncio
import atexit
import functools
import itertools
import os
import signal
import struct
import sys
import threading
import time

import zmq


class Bai(Output, Requests):
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
        self.numbers = itertools.count(1)
        self.kept = Kept()
        self.parent = None  # the request that runs, whole: what is sent now must be part of it
        self.origins = {}  # id of a request here -> id of the cell or comm message there
        self.origin = ""
        self.late = []  # pairs of a nonce and an envelope's texts
        self.name = "%d-%d" % (os.getpid(), time.time_ns())  # another one after an exec
        self.nonce = ""  # that of the client whose request runs, or ran last
        self.nonces = set()  # a notebook's, and those of commands that look in
        self.error = None  # the last one that this request has shown
        self.names = {}  # nonce -> the names that this client was told of last
        self.packets = {}  # name of a request that comes in parts -> what has come of it
        self.live = Live(self)
        self.watch = Watch(self)
        self.streams = (sys.stdout, sys.stderr)
        self.mark_path, self.pid = "", os.getpid()
        self.start_raw = threading.Thread.start
        self.begin_raw = threading.Thread._bootstrap_inner

    def install(self):
        self.session.send = self.send
        self.kernel.do_execute = self.do_execute
        self.kernel._input_request = self.input_request
        self.kernel._abort_queues = nothing_to_abort
        self.shell.ask_exit = self.ask_exit
        for stream in self.streams:
            stream.flush_interval = FLUSH
        if getattr(sys.breakpointhook, "__module__", "").split(".")[0] in DEBUGGERS:
            sys.breakpointhook = sys.__breakpointhook__
        self.wait_for_reader(True)
        self.size_terminal()
        self.watch.thread.start()
        self.threads.add(self.watch.thread)
        self.follow_threads()
        self.wake_on_signals()

    def size_terminal(self):
        # A container has a terminal for its log, which may be 0 columns wide; bars that are made to
        # fit it, such as tqdm's, would show nothing.
        try:
            import fcntl
            import termios

            terminal = self.streams[1].fileno()
            if os.get_terminal_size(terminal).columns == 0:
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        except (ImportError, AttributeError, OSError, ValueError):
            return  # there is none

    def wait_for_reader(self, is_wanted):
        # ZeroMQ drops what the runner has not read beyond some thousand messages. With this option
        # it waits instead. Only the thread that owns the socket may tell it.
        thread = getattr(self.kernel.iopub_socket, "io_thread", None)
        if thread is not None:
            thread.schedule(lambda: thread.socket.setsockopt(zmq.XPUB_NODROP, is_wanted))

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
        self.watch.is_on = False
        self.wait_for_reader(False)
        self.session.send = self.send_raw
        self.kernel.do_execute = self.execute_raw
        self.kernel._input_request = self.input_raw
        self.kernel.__dict__.pop("_abort_queues", None)
        self.shell.__dict__.pop("ask_exit", None)
        for stream in self.streams:
            stream.__dict__.pop("flush_interval", None)
        threading.Thread.start = self.start_raw
        threading.Thread._bootstrap_inner = self.begin_raw

    def follow_threads(self):
        """Have what a thread says belong to the request that started it.

        ipykernel 7.2 and later take it to belong to whatever runs when it is said. Before 7.0 that
        is so for what is displayed, and before 6.29 for text, too, which we leave so. 7.0 and 7.1
        know no request at all in a thread that displays something, and raise. From 6.29 to 7.1 text
        is taken to be that of an earlier thread whose number came again.
        """
        shell, start_raw, begin_raw = self.shell, self.start_raw, self.begin_raw
        is_told = hasattr(shell, "set_thread_parent")
        publisher = shell.display_pub
        is_lost = isinstance(getattr(type(publisher), "parent_header", None), property)
        contexts = [getattr(stream, "_parent_header", None) for stream in self.streams]
        contexts = [context for context in contexts if hasattr(context, "set")]

        def start(thread):
            thread._bai_parent = shell.get_parent() if is_told else thread_parent() or self.parent
            return start_raw(thread)

        def begin(thread):
            parent = thread_parent(thread)
            if parent and is_told:
                del thread._bai_parent
                shell.set_thread_parent(parent)
            elif parent:
                if is_lost:
                    publisher.set_parent(parent)
                for context in contexts:
                    context.set(parent["header"])
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


def nothing_to_abort(*args):
    # After an error ipykernel refuses for a moment what has come behind it. Here one request comes at
    # a time, and what is refused looks as if it had run; what to leave out the kernel proxy knows.
    done = asyncio.Future()
    done.set_result(None)
    return done  # before ipykernel 6.1 it is awaited


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
        bai.install()
    bai.nonce = nonce  # another kernel may have been here, and may still be
    bai.nonces.add(nonce)
    import ipykernel
    import IPython

    bai.parent = current_parent(bai.kernel)
    bai.emit(
        "hello",
        {
            "version": VERSION,
            "is_fresh": is_fresh,
            "interpreter": bai.name,
            "pid": os.getpid(),
            "mark": bai.mark(),
            "python": "%d.%d.%d" % sys.version_info[:3],
            "ipython": IPython.__version__,
            "ipykernel": ipykernel.__version__,
        },
    )
    bai.parent = None
