"""``run`` and ``start``: sessions that are made, and what is run in them."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backendai_kernel import batch, perform
from backendai_kernel.card import StartCard
from backendai_kernel.errors import BackendError, ConfigError, RunFailed
from backendai_kernel.follow import describe
from backendai_kernel.model import session_name
from backendai_kernel.outcomes import Ran, started_facts
from backendai_kernel.outputs import Translator
from backendai_kernel.slots import format_slots, parse_size, parse_words
from backendai_kernel.start import (
    Progress,
    Request,
    StillQueued,
    enqueue_session,
    start_session,
)
from backendai_kernel.upload import plan_upload
from backendai_kernel.variables import read_mounts, read_variables

from .asked import Asked
from .connection import here
from .stage import Stage

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.protocol.envelope import Message
    from backendai_kernel.protocol.run import Event, InputRequest
    from backendai_kernel.run import Run
    from backendai_kernel.session import ComputeSession

_VARIABLE = re.compile(r"[^\W\d]\w*")


# -- what is wanted -----------------------------------------------------------------------------


def _pairs(words: list[str], option: str, example: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (equals and key.strip()):
            raise ConfigError(
                f"{option} {word!r} is no KEY=VALUE.", hint=f"Such as {option} {example}."
            )
        pairs[key.strip()] = value
    return pairs


def _ports(text: str | None) -> tuple[int, ...]:
    ports = []
    for word in filter(None, (text or "").split(",")):
        if not word.strip().isdecimal() or not 1024 <= int(word) <= 65535:
            raise ConfigError(
                f"{word.strip()!r} is no port to open.",
                hint="A port is a number from 1024 to 65535.",
            )
        ports.append(int(word))
    return tuple(ports)


def _resource_options(words: list[str]) -> dict[str, str]:
    found = _pairs(words, "--resource-opts", "shmem=256m")
    if "shmem" in found:
        parse_size(found["shmem"])  # servers tell nothing of what is wrong with it
    return found


def read_request(options: Any) -> Request:
    """Return the session that the words of ``run`` or ``start`` ask for.

    Raises:
        ConfigError: They make no sense.
    """
    script = None
    if options.bootstrap_script:
        path = Path(options.bootstrap_script).expanduser()
        try:
            script = path.read_text(encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is no text in UTF-8.") from None
    if options.cluster_size < 1:
        raise ConfigError(f"--cluster-size {options.cluster_size} is no number of containers.")
    if options.max_wait is not None and options.max_wait < 0:
        raise ConfigError(f"--max-wait {options.max_wait:g} is no time to wait.")
    return Request(
        options.image,
        parse_words(options.resource),
        environ=read_variables(options.env, os.environ),
        mounts=read_mounts(options.mount),
        resource_opts=_resource_options(options.resource_opts),
        architecture=options.arch,
        cluster_size=options.cluster_size,
        cluster_mode=options.cluster_mode,
        tag=options.tag,
        bootstrap_script=script,
        scaling_group=options.scaling_group,
        preopen_ports=_ports(options.preopen),
        domain=options.domain,
        group=options.project,
    )


def read_name(options: Any) -> str:
    """Return the session's name, a made-up one where none is given.

    Raises:
        ConfigError: No session can have that name.
    """
    name = options.name or f"bai-{secrets.token_hex(5)}"
    if session_name(name) != name:
        raise ConfigError(
            f"{name!r} is no name for a session.",
            hint="It takes 4 to 64 letters, digits, dots, dashes and underscores of ASCII.",
        )
    return name


# -- start --------------------------------------------------------------------------------------


def start(asked: Asked) -> Any:
    """Start a session; return what it is."""
    options = asked.options
    request, name = read_request(options), read_name(options)
    stage = asked.stage()

    async def work(client: Client) -> Any:
        if options.enqueue_only:
            session, _ = await enqueue_session(client, request, name, reuse=not options.no_reuse)
        else:
            try:
                async with _card(stage, request) as card:
                    session = await start_session(
                        client,
                        request,
                        name,
                        on_progress=card.progress,
                        reuse=not options.no_reuse,
                        is_prepared=False,
                        max_wait=options.max_wait,
                    )
                    card.ready(session.name, client.config.endpoint, client.config.is_local)
            except StillQueued as exc:
                session = exc.session
        return started_facts(await describe(client, session.id))

    return stage.perform(asked.connection.use(work))


def _card(stage: Stage, request: Request) -> StartCard:
    return StartCard(stage.card, request.image, tuple(format_slots(request.wanted).split()))


# -- run ----------------------------------------------------------------------------------------


def run(asked: Asked) -> Any:
    """Run code or programs; return how it ended.

    Raises:
        RunFailed: It ended with another exit code than 0, or with an exception.
    """
    program = _program(asked)
    stage = asked.stage()
    show = _Show(stage, program)

    async def work(client: Client) -> perform.Outcome:
        if program.request is None or program.only_enqueued:
            return await perform.perform(client, program, show)
        async with show.card:
            return await perform.perform(client, program, show)

    outcome = stage.perform(asked.connection.use(work), show.interrupted)
    failure = show.translator.failure
    if outcome.exit_code or outcome.has_raised or failure is not None:
        raise _failed(outcome, failure.traceback if failure else [], failure)
    for name, value in outcome.values.items():
        asked.shell.user_ns[name] = value
    return Ran(outcome)


def _program(asked: Asked) -> perform.Program:
    options = asked.options
    if options.terminal:
        raise ConfigError(
            "--terminal is not possible: a notebook's cell is no terminal.",
            hint="Run one command with --exec, or open the session's terminal app (ttyd) in its web "
            "page.",
        )
    code = options.code
    if asked.cell is not None:
        if code is not None:
            raise ConfigError("%%bai run takes its code from the cell, not from -c as well.")
        code = asked.cell
    words = list(options.files)
    if options.session and options.image:  # there is no image then: the first word is a file
        words.insert(0, options.image)
        options.image = None
    if not options.session and not options.image:
        raise ConfigError(
            "%bai run: IMAGE is missing.",
            hint="`%bai images` lists them; --session NAME runs code in a session that runs already.",
        )
    steps = batch.Steps(options.clean, options.build, options.exec)
    if code is None and not words and steps == batch.Steps() and not options.enqueue_only:
        raise ConfigError(
            "%bai run: there is nothing to run.",
            hint="Give code with -c, files, or a command with --exec; in a cell, %%bai run.",
        )
    if code is not None and steps != batch.Steps():
        raise ConfigError(
            "%bai run: -c runs code; --clean, --build and --exec run commands.", hint="Choose one."
        )
    for name in options.output:
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"-o {name!r} is no name of a variable.")
    if options.output and code is None:
        raise ConfigError("-o brings back a variable of code, and there is none.")
    cwd = here() or Path("/")
    files = plan_upload(words, Path(options.basedir or "").expanduser(), cwd)
    if code is None and not options.enqueue_only:
        may_be_there = bool(options.session or options.mount or options.name)
        batch.check_program([file.name for file in files], steps.execute, may_be_there=may_be_there)
    return perform.Program(
        None if options.session else read_request(options),
        read_name(options),
        existing=options.session or "",
        code=code,
        steps=steps,
        files=files,
        wanted=tuple(options.output),
        is_removed=options.rm,
        environ=os.environ,
        is_reused=not options.no_reuse,
        max_wait=options.max_wait,
        only_enqueued=options.enqueue_only,
    )


def _failed(outcome: perform.Outcome, traceback: list[str], failure: Any) -> RunFailed:
    steps = [f"{name} {code}" for name, code in outcome.phases.items() if code]
    if outcome.phases.get("build"):
        what = f"The build failed with exit code {outcome.phases['build']}; nothing was executed."
    elif failure is not None and failure.ename:
        what = f"The code has failed: {': '.join(filter(None, [failure.ename, failure.evalue]))}"
    else:
        what = f"The program has failed with exit code {outcome.exit_code}."
        if len(steps) > 1:
            what += f" ({', '.join(steps)})"
    hint = (
        ""
        if outcome.is_removed
        else f"The session {outcome.name} still runs; look at it, or end it: %bai rm {outcome.name}"
    )
    return RunFailed(what, hint=hint, exit_code=outcome.exit_code, traceback=traceback)


class _Show:
    """Shows a program's life on a stage, and takes interrupts; see `perform.Audience`."""

    def __init__(self, stage: Stage, program: perform.Program) -> None:
        self._stage = stage
        self._program = program
        self._session: ComputeSession | None = None
        self._run: Run | None = None
        image = program.request.image if program.request is not None else program.existing
        wanted = program.request.wanted if program.request is not None else {}
        self.card = StartCard(stage.card, image, tuple(format_slots(wanted).split()))
        self.translator = Translator(0)

    def waits(self, progress: Progress) -> None:
        self.card.progress(progress)

    def begins(self, session: ComputeSession) -> None:
        self._session = session
        config = session.client.config
        self.translator.plain = not session.hello
        if self._program.request is not None:
            self.card.ready(session.name, config.endpoint, config.is_local)
            self.card.finish()
            self._stage.settle()

    def uploads(self, sent: int, total: int) -> None:
        count = len(self._program.files)
        what = f"{count} file{'s' if count != 1 else ''}"
        if sent < total:
            text = f"… Uploading {what} · {_bytes(sent)} of {_bytes(total)}"
        else:
            text = f"✓ Uploaded {what} · {_bytes(total)}"
        share = sent / total if total else 1
        bar = f'<progress value="{share:.3f}" max="1"></progress> '
        self._stage.line(text, f"<div>{bar if sent < total else ''}{text}</div>")
        if sent == total:
            self._stage.settle()

    def runs(self, run: Run) -> None:
        self._run = run

    def hears(self, event: Event | Message) -> None:
        for kind, content in self.translator.translate(event):
            if kind != "error":  # it is raised at the end, with the code's own traceback
                self._stage.publish(kind, content)

    async def asked(self, request: InputRequest) -> str | None:
        run = self._run
        assert run is not None
        try:
            line = await self._stage.ask(request.prompt, is_password=request.is_password)
        except Exception as exc:  # the front end's own refusal to ask, of whatever class
            self._stage.write("stderr", f"{exc}\n")
            line = None
        if line is None:
            await run.interrupt()
        return line

    def interrupted(self, count: int) -> str:
        """Interrupt the code; the second time offer to end the session."""
        run, session = self._run, self._session
        if run is None or session is None or run.is_over:
            return ""  # it still waits for its session: that is called off
        portal = self._stage.portal
        if count == 1:
            portal.start(self._interrupt(run))
            return (
                "[Interrupting the code. Interrupt again to be asked whether to end the session.]"
            )
        if count == 2:
            if self._stage.confirm(f"End the session {session.name}?"):
                portal.start(self._end(session))
                return f"[Ending the session {session.name}.]"
            return (
                "[The code goes on. Interrupt again to leave it alone; "
                f"`%bai rm {session.name}` ends the session.]"
            )
        return ""

    async def _interrupt(self, run: Run) -> None:
        try:
            await run.interrupt()
        except BackendError as exc:
            self._stage.write("stderr", f"The interrupt did not reach the session: {exc}\n")

    async def _end(self, session: ComputeSession) -> None:
        try:
            await session.destroy()
        except BackendError as exc:
            self._stage.write("stderr", f"The session could not be ended: {exc}\n")


def _bytes(size: int) -> str:
    return (
        f"{size / 1e6:.1f} MB"
        if size >= 1e5
        else f"{size / 1e3:.1f} kB"
        if size >= 1e3
        else f"{size} B"
    )
