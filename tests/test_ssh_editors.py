"""What VS Code and JetBrains ask of an SSH server, asked with OpenSSH of a session.

Both bring a server of their own there, keep it running without a connection, and reach its port or
socket through one that is forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from backendai_kernel.local.manager import LocalManager
from tests.conftest import ROOMY
from tests.signed import signed, until
from tests.test_cli import Result
from tests.test_ssh import LIMIT, Computer, finish

pytest.importorskip("asyncssh", reason="sessions offer SSH with asyncssh (the extra `local`)")
pytestmark = [
    pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

SERVER = """
import http.server, json, os, socket, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([os.environ["BACKENDAI_SESSION_NAME"], os.getpid(), self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "somebody"
    def log_message(self, *words):
        pass

class OnPath(http.server.ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "here", 0

def serve(where, told):
    kind = OnPath if isinstance(where, str) else http.server.ThreadingHTTPServer
    server = kind(where, Handler)
    with open(told + ".new", "w") as file:
        file.write(str(server.server_port))
    os.rename(told + ".new", told)
    server.serve_forever()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def computer(tmp_path_factory) -> AsyncIterator[Computer]:
    """A computer that knows a manager with one session, ``train``, and has reached it once."""
    place = tmp_path_factory.mktemp("c")
    home = place / "home"
    home.mkdir()
    async with LocalManager(place / "manager", slots=ROOMY) as manager, signed(manager) as api:
        await api.start("train")
        computer = Computer(manager, api, home)
        assert (await computer.configure()).status == 0
        assert (await computer("ssh", "bai-train", "true")).status == 0
        (computer.work("train") / "server.py").write_text(SERVER)
        yield computer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(computer) -> int:
    """The port of an HTTP server that code of the session has started, in its interpreter."""
    code = (
        "import threading, server\n"
        "threading.Thread(target=server.serve, args=(('127.0.0.1', 0), 'served'), daemon=True).start()"
    )
    await computer.api.run("train", code)
    return int(await said(computer, "served"))


async def said(computer: Computer, name: str) -> str:
    path = computer.work("train") / name
    await until(path.exists)
    return path.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def connected(computer: Computer, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An ssh with those options, once it is there; its command reads until it is told to end."""
    process = await computer.start(
        "ssh", "-oExitOnForwardFailure=yes", *words, "bai-train", "echo ready; cat"
    )
    assert await process.stdout.readline() == b"ready\n", await process.stderr.read()
    try:
        yield process
    finally:
        await finish(process)


async def get(computer: Computer, address: str) -> list[object]:
    async with asyncio.timeout(LIMIT), computer.api.http.get(address) as response:
        return json.loads(await response.read())


def is_in_the_session(computer: Computer, pid: object) -> bool:
    container = computer.manager.container("train")
    return psutil.Process(pid).environ()["BACKENDAI_KERNEL_ID"] == container.spec.kernel_id


async def test_a_forwarded_port_leads_to_a_server_in_the_session(computer, served):
    here = free_port()
    async with connected(computer, "-L", f"{here}:127.0.0.1:{served}"):
        name, pid, path = await get(computer, f"http://127.0.0.1:{here}/a/page?q=1")

    assert (name, path) == ("train", "/a/page?q=1")
    assert is_in_the_session(computer, pid)


async def test_a_script_is_run_from_standard_input(computer):
    """As VS Code begins: it looks what system that is, and ends with a word of its own."""
    script = (
        b'uname -s\nfor i in 1 2; do echo "line $i"; done\nread -r x <<< typed; echo $x\nexit 7'
    )
    result = await computer("ssh", "-T", "bai-train", "bash -s -- word", stdin=script)
    plain = await computer("ssh", "-T", "bai-train", "bash", stdin=b"echo $0; echo oops >&2\n")

    assert (result.status, result.out) == (7, "Linux\nline 1\nline 2\ntyped\n")
    assert (plain.status, plain.out, plain.err) == (0, "bash\n", "oops\n")


async def test_dynamic_forwarding_leads_to_a_server_in_the_session(computer, served):
    here = free_port()
    async with connected(computer, "-D", str(here)):
        reader, writer = await asyncio.open_connection("127.0.0.1", here)
        writer.write(b"\x05\x01\x00")  # SOCKS 5 without a password
        assert await reader.readexactly(2) == b"\x05\x00"
        writer.write(b"\x05\x01\x00\x03\x09localhost" + served.to_bytes(2, "big"))
        granted = await reader.readexactly(10)
        writer.write(b"GET /through HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert granted[:2] == b"\x05\x00"
    assert b'["train", ' in answer and b'"/through"]' in answer


async def test_one_connection_carries_several(computer, served):
    """Multiplexing; a way of its own would fail, so what works goes through the first."""
    path = f"-oControlPath={computer.home / 'm'}"
    master = await computer.start("ssh", "-MN", path, "bai-train")
    await until((computer.home / "m").exists)
    others = ("ssh", path, "-oProxyCommand=false")
    many = await asyncio.gather(
        *(computer(*others, "bai-train", f"cat; exit {n}", stdin=b"%d" % n) for n in range(5))
    )
    here = free_port()
    forwarded = await computer(
        *others, "-O", "forward", "-L", f"{here}:127.0.0.1:{served}", "bai-train"
    )
    name, _, _ = await get(computer, f"http://127.0.0.1:{here}/")
    files = await computer("sftp", *others[1:], "-b", "-", "bai-train", stdin=b"pwd")
    await computer(*others, "-O", "exit", "bai-train")
    await finish(master)
    without = await computer(*others, "bai-train", "true")

    assert [(each.status, each.out) for each in many] == [(n, str(n)) for n in range(5)]
    assert (forwarded.status, name) == (0, "train")
    assert str(computer.work("train")) in files.out
    assert without.status == 255


async def test_sftp_makes_moves_lists_and_removes(computer):
    (computer.home / "one file").write_bytes(b"1" * 1000)
    batch = """
mkdir place
put "one file" "place/one file"
chmod 750 "place/one file"
rename "place/one file" place/two
ln -s two place/link
ls -l place
get place/link back
df -h
rm place/link
rm place/two
rmdir place
-ls place
"""
    result = await computer("sftp", "-b", "-", "bai-train", stdin=batch.encode())

    assert result.status == 0, result.err
    assert "-rwxr-x---" in result.out and "1000" in result.out
    assert (computer.home / "back").read_bytes() == b"1" * 1000
    assert not (computer.work("train") / "place").exists()


async def test_an_archive_is_brought_through_standard_input(computer):
    content, buffer = os.urandom(2**20), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("server/bin")
        info.size, info.mode = len(content), 0o755
        archive.addfile(info, io.BytesIO(content))
    command = "mkdir ~/.up && cd ~/.up && cat > s.tgz && tar -xzf s.tgz && wc -c < s.tgz"
    result = await computer("ssh", "-T", "bai-train", command, stdin=buffer.getvalue())
    there = computer.work("train") / ".up" / "server" / "bin"

    assert (result.status, result.out.strip()) == (0, str(len(buffer.getvalue())))
    assert there.read_bytes() == content
    assert os.access(there, os.X_OK)


async def begin_server(computer: Computer, start: str, where: str, told: str) -> int:
    """Start a server of the editor's own in the background; return its process."""
    program = f"import server; server.serve({where}, {told!r})"
    script = f'{start} python3 -c "{program}" > {told}.log 2>&1 < /dev/null &\necho $!\n'
    result = await computer("ssh", "-T", "bai-train", "bash -s", stdin=script.encode())
    assert result.status == 0, result.err
    await said(computer, told)
    return int(result.out)


@pytest.mark.parametrize("start", ["nohup", "setsid"])
async def test_a_server_in_the_background_outlives_its_connection(computer, start):
    pid = await begin_server(computer, start, "('127.0.0.1', 0)", f"by-{start}")
    port, here = int(await said(computer, f"by-{start}")), free_port()
    async with connected(computer, "-L", f"{here}:127.0.0.1:{port}") as process:
        name, found, _ = await get(computer, f"http://127.0.0.1:{here}/")
        process.kill()  # as when the network goes away
    async with connected(computer, "-L", f"{here}:127.0.0.1:{port}"):
        _, again, _ = await get(computer, f"http://127.0.0.1:{here}/")
    ended = await computer("ssh", "bai-train", f"kill {found}")

    assert (name, ended.status) == ("train", 0)
    assert found == again == pid


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for sockets: their paths may have a hundred characters and no more."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def test_a_socket_in_the_session_is_forwarded(computer, sockets):
    """`remoteServerListenOnSocket` of VS Code; from a port here, and from a socket here."""
    there = str(sockets / "editor.sock")
    await begin_server(computer, "nohup", repr(there), "by-socket")
    port, here = free_port(), sockets / "here.sock"
    async with connected(computer, "-L", f"{port}:{there}", "-L", f"{here}:{there}"):
        name, _, path = await get(computer, f"http://127.0.0.1:{port}/by-port")
        reader, writer = await asyncio.open_unix_connection(str(here))
        writer.write(b"GET /by-socket HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert (name, path) == ("train", "/by-port")
    assert b'"/by-socket"]' in answer


async def test_a_port_and_a_socket_of_the_session_lead_here(computer, sockets):
    """Forwarding the other way: JetBrains has the far side call back."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    here = server.sockets[0].getsockname()[1]
    there = sockets / "back.sock"
    port = free_port()
    talk = (
        "import socket, sys; s = socket.socket(getattr(socket, sys.argv[1])); "
        "s.connect(eval(sys.argv[2])); s.sendall(b'hi\\n'); print(s.recv(9).decode(), end='')"
    )
    forwards = ("-R", f"{port}:127.0.0.1:{here}", "-R", f"{there}:127.0.0.1:{here}")
    async with connected(computer, *forwards):
        results: list[Result] = []
        for family, address in (("AF_INET", ("127.0.0.1", port)), ("AF_UNIX", str(there))):
            command = f'python3 -c "{talk}" {family} "{address!r}"'
            results.append(await computer("ssh", "bai-train", command))
    server.close()

    assert [each.out for each in results] == ["hi\n", "hi\n"], results
