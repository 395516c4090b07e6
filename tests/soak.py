"""``make soak``: half an hour of random cells, interrupts, restarts and faults, and a reckoning.

Two kernels use one embedded manager. The *steady* one runs cells and is interrupted; it lives from
the beginning to the end, so that what leaks in it is seen. The *wild* one is restarted, killed,
shut down, loses its session and its connection. Every cell knows what it must show, and what it
showed is compared: exactly, or, where a fault struck, as a part of it in the right order together
with a sentence that something is missing. At the end nothing may be left: no session, process,
lease, file, task or socket, and no memory that has grown.

    python -m tests.soak --minutes 30 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from backendai_kernel import leases
from backendai_kernel.local.faults import Fault
from backendai_kernel.local.manager import LocalManager
from tests.conftest import ROOMY
from tests.proxy.frontend import Cell, Notebook, environment_for, eventually, open_notebook

_WARM = 0.15  # of the time, after which memory is taken for settled
_MOST_GROWTH = 40  # MB of a kernel or the manager between then and the end
_MOST_MORE = 12  # files and sockets, threads, tasks: what goes up and down by itself
_SAYS_SO = ("missing", "lost", "may be", "could not", "did not", "interrupted")
_FAULTS = ("drop", "drop_after", "delay", "cut", "500", "502", "503", "events")


class Broken(AssertionError):
    """Something is not as it must be."""


@dataclass
class Ledger:
    """What was expected, and what came."""

    done: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def check(self, is_true: object, what: str, cell: Cell | None = None) -> None:
        if not is_true:
            said = ""
            if cell is not None:
                texts = [cell.stdout[-300:], cell.stderr[-600:]]
                said = f": {cell.reply} {texts} {[c.get('evalue') for c in cell.of('error')]}"
            self.broken.append(f"{what}{said}"[:2000])
            print(f"BROKEN {self.broken[-1]}", flush=True)


def is_part(found: list[str], expected: list[str]) -> bool:
    """Return whether lines are among others, in their order and none twice."""
    rest = iter(expected)
    return all(line in rest for line in found)


class Player:
    """One kernel, and what is done with it."""

    def __init__(
        self, name: str, folder: Path, manager: LocalManager, ledger: Ledger, luck: random.Random
    ) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.manager = manager
        self.ledger = ledger
        self.luck = luck
        self.environ = environment_for(manager, folder) | {
            "BACKENDAI_KERNEL_STATE": str(folder / "state")
        }
        self.notebook: Notebook
        self.count = 0
        self.value: int | None = None  # of the name `kept` in the session
        self.trouble = ""
        self.kinds: tuple[str, ...] = _FAULTS
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        self._stack = AsyncExitStack()
        self.notebook = await self._stack.enter_async_context(
            open_notebook(self.folder, self.environ)
        )
        self.value = None

    async def close(self) -> None:
        await self._stack.aclose()

    def session(self) -> str:
        """Return the id of the session, ``""`` while there is none."""
        file = Path(self.notebook.manager.connection_file)
        name = leases.name_of(str(file))
        alive = [r for r in self.manager.registry.alive() if not r.status.is_ending]
        return next((r.id for r in alive if r.name == name), "")

    async def run(self, code: str) -> Cell:
        cell = self.notebook.send(code)
        return await self.end(cell)

    async def end(self, cell: Cell) -> Cell:
        await cell.done()
        self.notebook._cells.pop(cell.id, None)
        return cell

    def word(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}"

    def good(self, what: str, cell: Cell, is_right: object) -> None:
        self.ledger.done[what] += 1
        self.ledger.check(cell.is_ok and is_right, f"{self.name}: {what}", cell)

    # -- what is done -------------------------------------------------------------------------

    async def prints(self) -> None:
        word, lines = self.word(), self.luck.choice([1, 5, 200, 3000])
        cell = await self.run(f"for i in range({lines}): print('{word}', i)")
        expected = "".join(f"{word} {i}\n" for i in range(lines))
        self.good("prints", cell, cell.stdout == expected)

    async def slow_prints(self) -> None:
        word, lines = self.word(), self.luck.randint(2, 8)
        code = (
            f"import time\nfor i in range({lines}): print('{word}', i, flush=True); time.sleep(0.3)"
        )
        cell = await self.run(code)
        self.good("slow", cell, cell.stdout == "".join(f"{word} {i}\n" for i in range(lines)))

    async def rich(self) -> None:
        word = self.word()
        cell = await self.run(
            f"from IPython.display import HTML, display\ndisplay(HTML('<b>{word}</b>'))\n'{word}'"
        )
        shown = [c["data"].get("text/html") for c in cell.of("display_data")]
        self.good("rich", cell, f"<b>{word}</b>" in shown and cell.result == f"'{word}'")

    async def big(self) -> None:
        word, size = self.word(), self.luck.choice([200_000, 2_000_000])
        cell = await self.run(f"print('{word}' + 'x' * {size})")
        self.good("big", cell, cell.stdout == word + "x" * size + "\n")

    async def raises(self) -> None:
        word = self.word()
        cell = await self.run(f"raise ValueError('{word}')")
        self.ledger.done["raises"] += 1
        self.ledger.check(cell.error == ("ValueError", word), "the wrong error", cell)

    async def asks(self) -> None:
        word = self.word()
        cell = self.notebook.send("print(input('? '))")
        await cell.until(lambda cell: cell.questions or cell.reply)
        self.notebook.answer(word)
        await self.end(cell)
        self.good("asks", cell, cell.stdout == f"{word}\n")

    async def remembers(self) -> None:
        if self.value is None:
            self.value = self.luck.randint(1, 10**6)
            cell = await self.run(f"kept = {self.value}")
            self.good("remembers", cell, True)
        else:
            cell = await self.run("kept")
            self.good("remembers", cell, cell.result == str(self.value))

    async def interrupts(self) -> None:
        word = self.word()
        cell = await self.notebook.started(
            f"print('{word}', flush=True)\nimport time; time.sleep(600)"
        )
        await asyncio.sleep(self.luck.random())
        await self.notebook.interrupt()
        await self.end(cell)
        self.ledger.done["interrupts"] += 1
        is_right = cell.error[0] == "KeyboardInterrupt" and cell.stdout == f"{word}\n"
        self.ledger.check(is_right, "an interrupt", cell)

    async def threads(self) -> None:
        word = self.word()
        cell = self.notebook.send(
            f"import threading\nthreading.Timer(0.4, lambda: print('{word}', flush=True)).start()"
        )
        await cell.done()
        await cell.until(lambda cell: cell.stdout)
        self.notebook._cells.pop(cell.id, None)
        self.good("late", cell, cell.stdout == f"{word}\n")

    async def restarts(self) -> None:
        before = self.session()
        await self.notebook.restart()
        cell = await self.run("'kept' in dir()")
        self.value = None
        after = self.session()
        is_same = before in ("", after)
        self.good(f"restarts{'' if is_same else f' ({before} became {after})'}", cell, is_same)
        self.ledger.check(cell.result == "False", "a restart forgot nothing", cell)

    async def is_killed(self) -> None:
        await self.run("1")
        before = self.session()
        self.notebook.process.kill()
        await self.notebook.manager.provisioner.wait()
        await self.notebook.restart()
        cell = await self.run("2")
        self.value = None
        self.good("killed", cell, cell.result == "2" and self.session() == before)

    async def begins_anew(self) -> None:
        before = self.session()
        await self.close()
        if before:
            record = next(r for r in self.manager.registry if r.id == before)
            await record.over.wait()
        await self.open()
        cell = await self.run("1")
        self.good("shutdown", cell, cell.result == "1" and self.session() != before)

    async def loses_session(self) -> None:
        await self.run("1")
        record = next(r for r in self.manager.registry if r.id == self.session())
        self.manager.end(record, self.luck.choice(["idle-timeout", "agent-lost", "user-requested"]))
        await record.over.wait()
        cell = await self.run("2")
        self.value = None
        self.ledger.done["lost"] += 1
        self.ledger.check(cell.error[0] == "RunLost", "a lost session", cell)
        again = await self.run("%bai retry")
        self.good("retry", again, again.result == "2")

    async def loses_interpreter(self) -> None:
        await self.run("1")
        await self.manager.faults.kill_interpreter(self.session())
        cell = await self.run("2")
        self.value = None
        self.ledger.done["died"] += 1
        self.ledger.check(cell.error[0] == "RunLost", "a dead interpreter", cell)
        self.good("after", again := await self.run("3"), again.result == "3")

    async def suffers(self) -> None:
        """Run a cell under a fault: all of its output comes, or the cell says what is missing."""
        await self.run("1")
        kind = self.luck.choice(self.kinds)
        self.trouble = kind
        fault = self._fault(kind, f"/session/{self.session()}")
        word, lines = self.word(), self.luck.randint(1, 12)
        cell = await self.run(
            f"import time\nfor i in range({lines}): print('{word}', i, flush=True); time.sleep(0.25)"
        )
        fault.times, self.trouble = 0, ""
        self.ledger.done["faults"] += 1
        self.ledger.faults[f"{kind}{'' if fault.hits else ' (not met)'}"] += 1
        expected = [f"{word} {i}" for i in range(lines)]
        found = cell.stdout.splitlines()
        if cell.is_ok and found == expected:
            return
        said = " ".join([cell.stderr, *(str(c.get("evalue")) for c in cell.of("error"))])
        is_told = is_part(found, expected) and any(words in said for words in _SAYS_SO)
        is_told = is_told or (not cell.is_ok and is_part(found, expected) and bool(said.strip()))
        self.ledger.told[kind] += 1
        self.ledger.check(is_told and "Traceback" not in said, f"{kind}: {expected}", cell)

    def _fault(self, kind: str, path: str) -> Fault:
        faults = self.manager.faults
        match kind:
            case "drop":
                return faults.drop(path=path, method="POST")
            case "drop_after":
                return faults.drop_after(path=path, method="POST")
            case "cut":
                return faults.cut(path=path, method="POST")
            case "delay":
                return faults.delay(self.luck.uniform(0.5, 4.0), path=path, method="POST")
            case "events":
                return faults.close_events()
        return faults.status(int(kind), path=path, method="POST")


def steady(player: Player) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
    return [
        (6, player.prints),
        (3, player.slow_prints),
        (4, player.rich),
        (1, player.big),
        (2, player.raises),
        (2, player.asks),
        (3, player.remembers),
        (3, player.interrupts),
        (1, player.threads),
    ]


def wild(player: Player) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
    return [
        *steady(player),
        (2, player.restarts),
        (1, player.is_killed),
        (1, player.begins_anew),
        (2, player.loses_session),
        (1, player.loses_interpreter),
        (10, player.suffers),
    ]


# -- what is there --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """What a process takes."""

    memory: float  # MB
    files: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process) -> Size:
        with process.oneshot():
            memory = process.memory_info().rss / 2**20
            return cls(memory, process.num_fds(), process.num_threads())

    def __str__(self) -> str:
        return f"{self.memory:6.1f} MB {self.files:4d} files {self.threads:3d} threads"


TASKS = (
    "%local import asyncio; k = get_ipython().kernel; print(len(asyncio.all_tasks(k.portal.loop)))"
)


async def tasks_of(player: Player) -> int:
    return int((await player.run(TASKS)).stdout)


async def soak(minutes: float, seed: int, folder: Path, kinds: Sequence[str] = _FAULTS) -> Ledger:
    """Play for so many minutes, and reckon."""
    ledger, luck = Ledger(), random.Random(seed)
    own = psutil.Process()
    tasks_before, children_before = len(asyncio.all_tasks()), len(own.children(recursive=True))
    scratch_before = _scratch()
    async with LocalManager(folder / "manager", slots=ROOMY) as manager:
        calm = Player("steady", folder, manager, ledger, random.Random(luck.random()))
        rough = Player("wild", folder, manager, ledger, random.Random(luck.random()))
        rough.kinds = tuple(kinds)
        await asyncio.gather(calm.open(), rough.open())
        begin = time.monotonic()
        end, warm_at = begin + 60 * minutes, begin + 60 * minutes * _WARM
        warm: tuple[Size, Size, int] | None = None

        async def play(
            player: Player, deeds: list[tuple[int, Callable[[], Awaitable[None]]]]
        ) -> None:
            weights, acts = zip(*deeds, strict=True)
            while time.monotonic() < end and len(ledger.broken) < 10:
                [act] = player.luck.choices(acts, weights)
                try:
                    await act()
                except (AssertionError, ValueError, StopIteration) as exc:
                    what = f"{player.name}: {act.__name__} {player.trouble}: {exc!r}"
                    ledger.check(False, what)
                    player.trouble = ""
                    await player.close()
                    await player.open()

        async def watch() -> None:
            nonlocal warm
            kernel = calm.notebook.process
            while time.monotonic() < end:
                await asyncio.sleep(min(30.0, 60 * minutes / 20))
                sizes = Size.of(kernel), Size.of(own)
                if warm is None and time.monotonic() > warm_at:
                    gc.collect()
                    warm = (*sizes, len(asyncio.all_tasks()))
                print(
                    f"{time.monotonic() - begin:6.0f} s  kernel {sizes[0]}  manager {sizes[1]}  "
                    f"cells {sum(ledger.done.values()):5d}  broken {len(ledger.broken)}",
                    flush=True,
                )

        await asyncio.gather(play(calm, steady(calm)), play(rough, wild(rough)), watch())
        gc.collect()
        kernel, manager_size = Size.of(calm.notebook.process), Size.of(own)
        tasks = len(asyncio.all_tasks())
        portal_tasks = await tasks_of(calm)
        if warm is not None:
            _compare("the steady kernel", warm[0], kernel, ledger)
            _compare("the manager", warm[1], manager_size, ledger)
            ledger.check(tasks - warm[2] <= _MOST_MORE, f"tasks: {warm[2]} became {tasks}")
        ledger.check(portal_tasks < 20, f"{portal_tasks} tasks on the portal's loop")
        await asyncio.gather(calm.close(), rough.close())
        await eventually(lambda: not manager.registry.alive(), "every session has ended")
        state = rough.environ["BACKENDAI_KERNEL_STATE"]
        found = leases.survey({"BACKENDAI_KERNEL_STATE": state})
        ledger.check(not found, f"leases are left: {found}")
        kept = sorted(p.name for p in (Path(state) / "kept").glob("*"))
        ledger.check(not kept, f"notes are left: {kept}")
        await eventually(
            lambda: not list((folder / "manager" / "sessions").glob("*")), "no session's folder"
        )
    await asyncio.sleep(0.5)
    gc.collect()
    children = own.children(recursive=True)
    ledger.check(len(children) <= children_before, f"processes are left: {children}")
    left = len(asyncio.all_tasks()) - tasks_before
    ledger.check(left <= 0, f"{left} tasks are left")
    ledger.check(
        not _scratch() - scratch_before, f"folders are left: {_scratch() - scratch_before}"
    )
    return ledger


def _compare(who: str, before: Size, after: Size, ledger: Ledger) -> None:
    print(f"{who}: {before} -> {after}")
    grown = after.memory - before.memory
    ledger.check(grown <= _MOST_GROWTH, f"{who} has grown by {grown:.1f} MB")
    ledger.check(after.files - before.files <= _MOST_MORE, f"{who}: more files and sockets")
    ledger.check(after.threads - before.threads <= _MOST_MORE, f"{who}: more threads")


def _scratch() -> set[str]:
    """Return the folders of containers in the place for temporary files."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("bai-*")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument(
        "--faults", default=",".join(_FAULTS), help=f"which of {', '.join(_FAULTS)}; commas between"
    )
    options = parser.parse_args()
    kinds = tuple(options.faults.split(","))
    if set(kinds) - set(_FAULTS):
        parser.error(f"--faults: the kinds are {', '.join(_FAULTS)}")
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder  # what is left there is ours
        ledger = asyncio.run(soak(options.minutes, options.seed, Path(folder), kinds))
    print(f"done:   {dict(ledger.done.most_common())}")
    print(f"faults: {dict(ledger.faults.most_common())}")
    print(f"output that was missing and said to be: {dict(ledger.told)}")
    for sentence in ledger.broken:
        print(f"BROKEN {sentence}")
    print("✗ broken" if ledger.broken else "✓ everything is accounted for, and nothing is left")
    return 1 if ledger.broken else 0


if __name__ == "__main__":
    sys.exit(main())
