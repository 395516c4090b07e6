"""What was done, as values that a notebook shows: a start, a run, an end, an examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from .describe import COLUMNS
from .doctor import OK, PROBLEM, WARNING, Fact, has_problem
from .ending import Ended
from .leases import Standing
from .model import SessionDetail
from .orphans import ENDED, FAILED, GONE, KEPT, Orphan
from .perform import Outcome
from .slots import format_slots
from .tables import Column, Facts, Table, marked


def ended_table(outcomes: Sequence[Ended]) -> Table[Ended]:
    """Return what became of sessions that were to be ended."""
    columns: tuple[Column[Ended], ...] = (
        Column("name", "Name", lambda e: e.name),
        Column("outcome", "Outcome", lambda e: e.outcome, lambda word: f"✓ {word}"),
        Column(
            "session_id", "Id", lambda e: e.session_id, lambda i: i[:8], tip=lambda e: e.session_id
        ),
    )
    return Table("Sessions", tuple(outcomes), columns)


def orphan_table(outcomes: Sequence[Orphan], *, is_dry: bool = False) -> Table[Orphan]:
    """Return what became of sessions that may have been left behind."""
    columns: tuple[Column[Orphan], ...] = (
        Column("name", "Session", lambda o: o.name),
        Column("outcome", "Outcome", lambda o: o.outcome, lambda word: f"{_MARKS[word]} {word}"),
        Column("note", "Why", lambda o: o.note),
        Column("notebook", "Notebook", lambda o: o.found.terms.notebook),
        Column(
            "session_id", "Id", lambda o: o.session_id, lambda i: i[:8], tip=lambda o: o.session_id
        ),
    )
    shown = [each for each in outcomes if each.found.standing is not Standing.HELD]
    held = len(outcomes) - len(shown)
    note = f"{held} more belong to kernels that run." if held else ""
    waiting = sum(each.is_orphan and each.outcome == KEPT for each in shown)
    if is_dry and waiting:
        note = " ".join(filter(None, ["Nothing was ended; `%bai gc` does it.", note]))
    empty = "Nothing was left behind."
    return Table("Left behind", tuple(shown), columns, note=note, empty=empty)


_MARKS = {ENDED: "✓", GONE: "✓", KEPT: "·", FAILED: "✗"}


@dataclass(frozen=True, slots=True, repr=False)
class Ran:
    """How a program ended, in a sentence.

    Attributes:
        outcome: All of it.
    """

    outcome: Outcome

    @property
    def exit_code(self) -> int | None:
        return self.outcome.exit_code

    @property
    def session(self) -> str:
        """Name of the session."""
        return self.outcome.name

    @property
    def session_id(self) -> str:
        return self.outcome.session_id

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; values that were brought back are not among it."""
        told = self.outcome
        return {
            "session_id": told.session_id,
            "session": told.name,
            "status": told.status or None,
            "exit_code": told.exit_code,
            "phases": dict(told.phases),
            "seconds": told.seconds,
            "is_removed": told.is_removed,
            "is_new": told.is_new,
        }

    def df(self) -> Any:
        """Return a pandas DataFrame of one row; pandas must be installed."""
        import pandas

        return pandas.DataFrame([self.to_dict()])

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._next_steps()])

    def _repr_html_(self) -> str:
        steps = "".join(f"<div>{marked(line)}</div>" for line in self._next_steps())
        return f"<div><strong>{escape(self._headline())}</strong>{steps}</div>"

    def _headline(self) -> str:
        told = self.outcome
        if told.status == "RUNNING":
            return f"✓ The session {told.name} runs; nothing was executed in it."
        if told.status:
            return f"… The session {told.name} is queued ({told.status.lower()}); nothing was executed."
        code = "" if told.exit_code is None else f" with exit code {told.exit_code}"
        steps = ", ".join(f"{name} {code}" for name, code in told.phases.items())
        steps = steps if len(told.phases) > 1 else ""
        return f"✓ Finished{code} after {told.seconds:.1f} s{f' ({steps})' if steps else ''}."

    def _next_steps(self) -> list[str]:
        told = self.outcome
        if told.is_removed:
            return [f"  The session {told.name} was ended."]
        if not told.status:
            if not told.is_new:
                return []
            return [
                f"  The session {told.name} still runs: `%%bai run --session {told.name}` goes on "
                f"in it, `%bai rm {told.name}` ends it."
            ]
        waits = [f"  {told.note}"] if told.note else []
        return [
            *waits,
            f"  `%bai events {told.name}` tells when it runs, `%%bai run --session {told.name}` "
            f"runs code in it then, `%bai rm {told.name}` takes it back.",
        ]


def started_facts(session: SessionDetail) -> Facts:
    """Return what to know of a session that has just been started or queued."""
    slots = dict(session.slots)
    ready = session.status.is_running
    rows = [
        ("Id", session.id),
        ("Status", COLUMNS["status"].show(session)),
        ("Image", session.image or ""),
        ("Resources", format_slots(slots)),
        ("Apps", ", ".join(session.apps)),
        ("Next", _after_start(session.name, ready)),
    ]
    data = {
        "session_id": session.id,
        "session": session.name,
        "status": session.status_name,
        "image": session.image,
        "slots": slots,
        "apps": list(session.apps),
    }
    told = tuple((k, v) for k, v in rows if v)
    return Facts(f"Session {session.name}", told, data=data, sentences=frozenset({"Next"}))


def _after_start(name: str, is_ready: bool) -> str:
    if is_ready:
        return f"`%%bai run --session {name}` runs code in it, `%bai rm {name}` ends it"
    return f"`%bai events {name}` tells when it runs, `%bai rm {name}` takes it back"


def doctor_facts(facts: Sequence[Fact]) -> Facts:
    """Return what an examination has found out."""
    marks = {OK: "✓", WARNING: "!", PROBLEM: "✗"}
    rows = [
        (f"{marks[fact.state]} {fact.topic}", " → ".join(filter(None, [fact.text, fact.advice])))
        for fact in facts
    ]
    data = {
        "ok": not has_problem(list(facts)),
        "facts": [asdict(fact) for fact in facts],
    }
    labels = frozenset(label for label, _ in rows)
    return Facts("Backend.AI", tuple(rows), data=data, sentences=labels)
