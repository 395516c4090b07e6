"""Programs from start to end: uploads, steps, exit codes; on servers that drop what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backendai_kernel import leases
from backendai_kernel.batch import Steps, check_program, delay_for
from backendai_kernel.client import Client
from backendai_kernel.errors import ConfigError, NotFound
from backendai_kernel.follow import follow_events, follow_log, read_log
from backendai_kernel.listing import find_session
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.perform import Program, perform
from backendai_kernel.protocol.run import InputRequest, Text
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from backendai_kernel.upload import plan_upload, upload
from tests.conftest import ROOMY

from .test_listing import client_for


class Listener:
    """An audience that writes everything down and types what it was told to."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.text = ""
        self.sent: list[tuple[int, int]] = []

    def waits(self, progress: object) -> None: ...

    def begins(self, session: ComputeSession) -> None:
        self.session = session

    def uploads(self, sent: int, total: int) -> None:
        self.sent.append((sent, total))

    def runs(self, run: object) -> None: ...

    def hears(self, event: object) -> None:
        if isinstance(event, Text):
            self.text += event.text

    async def asked(self, request: InputRequest) -> str | None:
        return self.lines.pop(0)


@pytest.fixture(params=sorted(RELEASES))
async def client(request, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of each release; each drops what a step says between two requests."""
    release = RELEASES[request.param]
    async with LocalManager(
        tmp_path / "manager", slots=ROOMY, release=release, keeps_steps=False
    ) as manager:
        async with client_for(manager) as client:
            yield client


async def test_a_program_of_quick_steps_ends_on_every_release(client, tmp_path):
    (tmp_path / "main.py").write_text("print('ran', input('who? '))")
    files = plan_upload(["main.py"], tmp_path, tmp_path)
    listener = Listener("me")
    good = await perform(
        client,
        Program(Request("python"), "steps", files=files, steps=Steps(clean="true", build="echo b")),
        listener,
    )
    failed = await perform(
        client, Program(None, "", existing="steps", steps=Steps(execute="exit 6")), Listener()
    )
    unbuilt = await perform(
        client, Program(None, "", existing="steps", steps=Steps(build="exit 3")), Listener()
    )
    after = await perform(
        client, Program(None, "", existing="steps", code="print('fine')"), heard := Listener()
    )

    assert dict(good.phases) == {"clean": 0, "build": 0, "execute": 0}
    assert "b\n" in listener.text and "ran me" in listener.text
    assert failed.exit_code == 6
    assert dict(unbuilt.phases) == {"build": 3, "execute": 127}
    assert heard.text == "fine\n" and after.is_new is False


async def test_files_of_all_sizes_arrive_whole(client, tmp_path):
    folder = tmp_path / "files"
    sizes = {"none": 0, "small": 10, "edge": 2**20 - 1, "large": 2**20, "sub/larger": 5 * 2**20 + 3}
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((name.encode() + bytes(range(251))) * (size // 200 + 1))
        with path.open("r+b") as file:
            file.truncate(size)
    for number in range(45):
        (folder / f"many {number} ü.txt").write_text(str(number))
    session = await start_session(client, Request("python"), "files")
    listener = Listener()
    planned = plan_upload(["files"], folder, tmp_path)
    await upload(session, planned, listener.uploads)

    code = (
        "import hashlib, os, pathlib\n"
        "for p in sorted(pathlib.Path.home().rglob('*')):\n"
        "    if p.is_file() and '.backendai' not in p.name and '.ipython' not in str(p):\n"
        "        print(p.relative_to(pathlib.Path.home()), hashlib.md5(p.read_bytes()).hexdigest())"
    )
    heard = Listener()
    await perform(client, Program(None, "", existing="files", code=code), heard)
    import hashlib

    there = dict(line.rsplit(" ", 1) for line in heard.text.splitlines())
    here = {p.name: hashlib.md5(p.path.read_bytes()).hexdigest() for p in planned}
    assert {name: there.get(name) for name in here} == here
    assert not [name for name in there if ".upload-" in name or name.endswith(".part")]
    total = sum(file.size for file in planned)
    assert listener.sent[0] == (0, total) and listener.sent[-1] == (total, total)
    assert listener.sent == sorted(listener.sent) and len(listener.sent) > 3


def test_a_plan_keeps_paths_and_leaves_caches_out(tmp_path):
    (tmp_path / "pkg" / "__pycache__").mkdir(parents=True)
    (tmp_path / "pkg" / "a.py").write_text("")
    (tmp_path / "pkg" / "__pycache__" / "a.pyc").write_text("")
    names = [file.name for file in plan_upload(["pkg", "pkg/a.py"], tmp_path, tmp_path)]

    assert names == ["pkg/a.py"]
    assert plan_upload([str(tmp_path / "pkg")], tmp_path / "pkg", tmp_path)[0].name == "a.py"
    with pytest.raises(ConfigError, match="lies outside"):
        plan_upload(["/etc/hostname"], tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="no file 'b'"):
        plan_upload(["b"], tmp_path, tmp_path)


def test_a_program_without_a_beginning_is_refused_before_anything_is_started():
    with pytest.raises(ConfigError, match=r"--exec 'python train\.py'") as caught:
        check_program(["train.py"], "*", may_be_there=False)
    assert "main.py" in caught.value.message
    check_program(["main.py"], "*", may_be_there=False)
    check_program([], "*", may_be_there=True)
    check_program([], "make", may_be_there=False)


def test_commands_wait_a_moment_and_keep_their_exit_code():
    options = Steps(build="", execute="a && b || 'c'").options(0.5)

    assert options["clean"] == options["build"] == ""
    assert options["exec"].startswith("sleep 0.50; exec sh -c ")


async def test_the_moment_is_several_round_trips(manager):
    async with client_for(manager) as client:
        assert await delay_for(client) == pytest.approx(0.4, abs=0.1)
        manager.faults.delay(0.3, path="/")
        assert await delay_for(client) >= 1.8


async def test_rm_ends_the_session_however_it_went(manager):
    async with client_for(manager) as client:
        await perform(
            client, Program(Request("python"), "good", code="1", is_removed=True), Listener()
        )
        outcome = await perform(
            client, Program(Request("python"), "fail", code="1/0", is_removed=True), Listener()
        )
        with pytest.raises(NotFound):
            program = Program(
                Request("python"), "want", code="1", wanted=("nothing",), is_removed=True
            )
            await perform(client, program, Listener())

    assert outcome.has_raised
    for record in manager.registry:
        await record.over.wait()


async def test_a_session_that_is_to_be_ended_is_answered_for_meanwhile(manager, tmp_path):
    environ = {"BACKENDAI_KERNEL_STATE": str(tmp_path / "state")}
    found = []

    class Looking(Listener):
        def runs(self, run: object) -> None:
            found.extend(leases.survey(environ))

    async with client_for(manager) as client:
        program = Program(Request("python"), "once", code="1", is_removed=True, environ=environ)
        outcome = await perform(client, program, Looking())
        await perform(client, replace(program, is_removed=False), Listener())

    [held] = found
    assert (held.standing, held.terms.session_id) == (leases.Standing.HELD, outcome.session_id)
    assert leases.survey(environ) == []


async def test_a_log_is_followed_to_the_end_of_its_session(manager):
    async with client_for(manager) as client:
        session = await start_session(client, Request("python"), "logs")
        async with session.run("import os; os.write(1, b'first line\\n')") as run:
            async for _ in run:
                pass
        text = ""
        found = await find_session(client, "logs")
        async for piece in follow_log(client, found):
            text += piece
            if "first line" in piece:
                await session.destroy()

        assert text == await read_log(client, found)


async def test_events_are_told_from_now_to_the_end(manager):
    async with client_for(manager) as client:
        session = await start_session(client, Request("python"), "events")
        found = await find_session(client, "events")
        until_it_runs = [event.name async for event in follow_events(client, found)]
        names = []
        async for event in follow_events(client, found, is_whole=True):
            names.append(event.name)
            if len(names) == 1:
                await session.destroy()
        over = [event.name async for event in follow_events(client, found, is_whole=True)]

    assert until_it_runs == ["session_running"]
    assert names[0] == "session_running" and names[-1] == "session_terminated"
    assert over == ["session_terminated"]


async def test_events_go_on_when_their_stream_breaks(manager):
    async with client_for(manager) as client:
        await start_session(client, Request("python"), "breaks")
        found = await find_session(client, "breaks")
        cut = manager.faults.close_events()
        names = []
        async for event in follow_events(client, found, is_whole=True):
            names.append(event.name)
            if len(names) == 1:
                session = ComputeSession(client, found.id, found.name)
                await session.destroy()

    assert names[-1] == "session_terminated"
    assert cut.hits == 1
