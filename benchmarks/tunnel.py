"""The tunnel to an app against raw TCP, a bare relay, and the official client's ``app`` command."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from cheap import PIECE, order
from frontend import PLAIN, Frontend
from table import Row, in_turn, told

HERE = Path(__file__).parent
BULK = 128 * 2**20  # bytes; half of it through TLS
LATE = 64 * PIECE
WORDS = 300  # bytes of a ping
IDLE = 100  # connections
OURS = [sys.executable, "-c", "import sys; from backendai_kernel.cli import main; sys.exit(main())"]
OPEN = """
import os
from IPython import get_ipython
shell = get_ipython()
shell.run_line_magic("load_ext", "bai")
print(shell.run_line_magic("bai", "app bench bench -b 127.0.0.1:0")["port"], flush=True)
"""
SPIN = "import time\nuntil = time.monotonic() + {}\nwhile time.monotonic() < until:\n    pass"


class Carrier:
    """A process that listens at a port and leads to the app; ``None`` for the app itself."""

    def __init__(self, port: int, process: psutil.Process | None = None) -> None:
        self.port = port
        self.process = process

    def cpu(self) -> float:
        if self.process is None:
            return 0.0
        # In nanoseconds; the usual figures come in hundredths of a second.
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def connect(self) -> socket.socket:
        wire = socket.create_connection(("127.0.0.1", self.port), 60)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire

    def bulk(self, letter: str, size: int) -> tuple[float, float]:
        """Move bytes up (``U``) or down (``D``); return MB/s and the process's CPU seconds a GB."""
        with self.connect() as wire:
            used, began = self.cpu(), time.perf_counter()
            wire.sendall(order(letter, size))
            if letter == "U":
                _exactly(wire, 1)
                began = time.perf_counter()
                piece = bytes(2**20)
                for _ in range(size // len(piece)):
                    wire.sendall(piece)
                _exactly(wire, 1)
            else:
                _exactly(wire, PIECE)
                began = time.perf_counter()
                _exactly(wire, size - PIECE)
            took = time.perf_counter() - began
            return size / 1e6 / took, (self.cpu() - used) / (size / 1e9)

    def first_byte(self) -> float:
        """Return the seconds from connecting to the first byte of an answer."""
        began = time.perf_counter()
        with self.connect() as wire:
            wire.sendall(order("E", 0) + b"x")
            _exactly(wire, 1)
            return time.perf_counter() - began

    @contextmanager
    def talking(self) -> Iterator[Talk]:
        with self.connect() as wire:
            wire.sendall(order("E", 0))
            yield Talk(wire)

    def late(self) -> int:
        """Say all there is to say, and count the bytes that come after it."""
        with self.connect() as wire:
            wire.settimeout(5)
            wire.sendall(order("L", LATE))
            wire.shutdown(socket.SHUT_WR)
            count = 0
            try:
                while data := wire.recv(2**18):
                    count += len(data)
            except OSError:
                pass  # what is lost is told by the count
            return count


class Talk:
    """A connection on which short words go to and fro."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def ping(self) -> float:
        began = time.perf_counter()
        self._wire.sendall(bytes(WORDS))
        _exactly(self._wire, WORDS)
        return time.perf_counter() - began


def _exactly(wire: socket.socket, size: int) -> None:
    buffer = memoryview(bytearray(min(size, 2**20)))
    while size:
        count = wire.recv_into(buffer, min(size, len(buffer)))
        if not count:
            raise EOFError("the connection was closed")
        size -= count


# -- the carriers -----------------------------------------------------------------------------


@contextmanager
def server(folder: Path) -> Iterator[dict[str, int]]:
    """Run the cheap server and give its ports."""
    files = [folder / "cert.pem", folder / "key.pem"]
    made = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {files[0]}"
    subprocess.run(
        ["openssl", *made.split(), "-keyout", str(files[1])], check=True, capture_output=True
    )
    command = [sys.executable, str(HERE / "cheap.py"), *map(str, files)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate(timeout=20)


@contextmanager
def carrier(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[Carrier]:
    """Run an ``app`` command and give it once it listens."""
    port = _free_port()
    with (folder / "carriers.log").open("ab") as log:
        began = time.perf_counter()
        process = psutil.Popen(
            [*command, "app", "bench", "bench", "-b", f"127.0.0.1:{port}"],
            env=dict(environ),
            stdout=log,
            stderr=log,
        )
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} app has ended, see {folder / 'carriers.log'}")
            time.sleep(0.005)
        found = Carrier(port, process)
        found.started = time.perf_counter() - began
        yield found
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def bare(port: int) -> Iterator[Carrier]:
    command = [sys.executable, str(HERE / "plainrelay.py"), str(port)]
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Carrier(int(process.stdout.readline()), process)
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- the rows ---------------------------------------------------------------------------------


def tunnel_rows(
    clean: Mapping[str, str], folder: Path, factor: float, official: str | None
) -> Iterator[Row]:
    """Measure in turn; without the official command its rows are left out."""

    def rounds(number: int) -> range:
        return range(max(3, round(number * factor)))

    keys = {
        "BACKEND_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLE",
        "BACKEND_SECRET_KEY": "none",
        "BACKEND_ENDPOINT_TYPE": "api",
        "BACKEND_SKIP_SSLCERT_VALIDATION": "yes",
        "BACKENDAI_KERNEL_STATE": str(folder / "state"),
        "BACKENDAI_KERNEL_CONFIG": str(folder / "config"),
    }
    with server(folder) as ports:
        plain = dict(clean) | keys | {"BACKEND_ENDPOINT": f"http://127.0.0.1:{ports['http']}"}
        tls = plain | {"BACKEND_ENDPOINT": f"https://127.0.0.1:{ports['https']}"}
        if official is not None:
            yield from _against(plain, "plain", folder, official, rounds, BULK)
            yield from _against(tls, "wss", folder, official, rounds, BULK // 2)
            yield from _starts(plain, folder, official, rounds)
        yield from _floors(plain, folder, ports["tcp"], rounds)
        yield from _idle(plain, folder)
        yield from _beside_a_cell(plain, folder, ports["tcp"], rounds)
        with urllib.request.urlopen(f"{plain['BACKEND_ENDPOINT']}/_note", timeout=10) as answer:
            deflate = json.load(answer)["deflate"]
    yield Row("permessage-deflate offered", "", str(deflate), deflate, 0)


def _against(
    environ: Mapping[str, str],
    name: str,
    folder: Path,
    official: str,
    rounds: object,
    size: int,
) -> Iterator[Row]:
    with ExitStack() as stack:
        pair = [
            stack.enter_context(carrier(command, environ, folder)) for command in ([official], OURS)
        ]
        for each in pair:
            each.bulk("U", size // 4)
            each.bulk("D", size // 4)
        for letter, way in (("U", "up"), ("D", "down")):
            taken = [[each.bulk(letter, size) for each in pair] for _ in rounds(12)]
            speed = [[one[0] for one in both] for both in taken]
            cpu = [[one[1] for one in both] for both in taken]
            wanted = (1.2, 0.75) if name == "plain" else (1.0, 1.0)
            yield in_turn(f"{name}, {way}", speed, 1, "MB/s", wanted[0], at_least=True)
            yield in_turn(f"… CPU a GB, {way}", cpu, 1, "s", wanted[1])
        with ExitStack() as talks:
            words = [talks.enter_context(each.talking()) for each in pair]
            pings = [[each.ping() for each in words] for _ in rounds(600)]
        yield in_turn(f"{name}, ping", pings, 1e3, "ms", 1.0)
        firsts = [[each.first_byte() for each in pair] for _ in rounds(60)]
        yield in_turn(f"{name}, connect to first byte", firsts, 1e3, "ms", 1.0)
        if name == "plain":
            lost = [LATE - each.late() for each in pair]
            yield Row("bytes lost after a local EOF", str(lost[0]), str(lost[1]), lost[1], 0)


def _starts(
    environ: Mapping[str, str], folder: Path, official: str, rounds: object
) -> Iterator[Row]:
    taken, memory = [], []
    for _ in rounds(5):
        pair, sizes = [], []
        for command in ([official], OURS):
            with carrier(command, environ, folder) as each:
                each.first_byte()
                pair.append(each.started)
                sizes.append(each.process.memory_info().rss / 2**20)
        taken.append(pair)
        memory.append(sizes)
    yield in_turn("start to listening", taken, 1e3, "ms", 0.2)
    theirs, ours = zip(*memory, strict=True)
    most = statistics.median(ours)
    yield Row("RSS, MiB", told(theirs, 1, "MiB"), told(ours, 1, "MiB"), most, 45)


def _floors(environ: Mapping[str, str], folder: Path, tcp: int, rounds: object) -> Iterator[Row]:
    """Against raw TCP, and against a relay without a websocket."""
    with bare(tcp) as relay, carrier(OURS, environ, folder) as ours:
        raw = Carrier(tcp)
        three = (raw, relay, ours)
        for letter, way in (("U", "up"), ("D", "down")):
            taken = [[each.bulk(letter, BULK) for each in three] for _ in rounds(9)]
            speed = [[one[0] for one in all_of] for all_of in taken]
            cpu = [[one[1] for one in all_of] for all_of in taken]
            yield in_turn(f"raw TCP, {way}", [s[::2] for s in speed], 1, "MB/s", None)
            yield in_turn(f"bare relay, {way}", [s[1:] for s in speed], 1, "MB/s", None)
            yield in_turn(f"… CPU a GB, {way}", [c[1:] for c in cpu], 1, "s", 1.35)
        with ExitStack() as talks:
            words = [talks.enter_context(each.talking()) for each in three]
            pings = [[each.ping() for each in words] for _ in rounds(600)]
        yield in_turn("raw TCP, ping", [p[::2] for p in pings], 1e3, "ms", None)
        yield in_turn("bare relay, ping", [p[1:] for p in pings], 1e3, "ms", None)


def _idle(environ: Mapping[str, str], folder: Path) -> Iterator[Row]:
    with carrier(OURS, environ, folder) as ours, ExitStack() as talks:
        ours.first_byte()
        before = ours.process.memory_info().rss
        words = [talks.enter_context(ours.talking()) for _ in range(IDLE)]
        for each in words:
            each.ping()
        grown = (ours.process.memory_info().rss - before) / 2**20
        used = ours.cpu()
        time.sleep(2)
        used = (ours.cpu() - used) / 2 * 100
        for each in words:
            each.ping()
    yield Row(f"{IDLE} idle connections, MiB", "", f"{grown:.1f}", grown, None)
    yield Row("… CPU of them, %", "", f"{used:.1f}", used, None)


def _beside_a_cell(
    environ: Mapping[str, str], folder: Path, tcp: int, rounds: object
) -> Iterator[Row]:
    """Ping through a tunnel that a kernel has opened, while it is idle and while it computes.

    The words through a bare relay, which has to do with no kernel, go in turn with them: what they
    take longer beside a cell is the computer's doing.
    """
    with Frontend(PLAIN, folder, environ) as kernel, bare(tcp) as relay, ExitStack() as talks:
        ours = Carrier(int(kernel.run(OPEN).text))
        words = [talks.enter_context(each.talking()) for each in (ours, relay)]
        tails, middles = ([], []), ([], [])
        for _ in rounds(15):
            seen = [_pings_beside(kernel, seconds, words) for seconds in (0.0, 1.5)]
            for number in range(len(words)):
                pair = [sorted(each[number]) for each in seen]
                middles[number].append([one[len(one) // 2] for one in pair])
                tails[number].append([one[int(len(one) * 0.95)] for one in pair])
    yield in_turn("ping p50, kernel idle / computing", middles[0], 1e3, "ms", None)
    yield in_turn("ping p95, kernel idle / computing", tails[0], 1e3, "ms", 2.0)
    yield in_turn("… bare relay's p50", middles[1], 1e3, "ms", None)
    yield in_turn("… bare relay's p95", tails[1], 1e3, "ms", None)


def _pings_beside(kernel: Frontend, seconds: float, words: Sequence[Talk]) -> list[list[float]]:
    """Return the times of round trips through each, while a cell computes for so many seconds."""
    cell = threading.Thread(target=kernel.run, args=(SPIN.format(seconds),))
    cell.start()
    time.sleep(0.3)
    began, found = time.monotonic(), [[] for _ in words]
    while time.monotonic() < began + 0.9:
        for each, pings in zip(words, found, strict=True):
            pings.append(each.ping())
            time.sleep(0.001)
    cell.join()
    return found


def environment() -> dict[str, str]:
    """Return this process's environment without settings of Backend.AI."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("BACKEND", "SORNA_"))}
