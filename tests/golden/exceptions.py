"""Where the embedded manager differs from the recordings, and why: all of it."""

from __future__ import annotations

import importlib.util

APPS = "An app that does not work is not listed; the real image lists ports of what it lacks too."
PIDS = "Process ids, paths and file names are this computer's."
EVEN = (
    "The code sleeps for as long as a poll is held: what it prints comes in that one or the next."
)
SOONER = "Here a session is over as soon as its processes are; the real one takes seconds."
LOG = "An interpreter writes to the container's log here, which does not close when it starts anew."
DEVICES = "Simulated devices have names of their own."

NOT_REPLAYED: dict[str, str] = {
    "32": "What batch mode loses is decided by which process is faster; see test_coderunner.",
}
"""Recording → why it is not replayed."""

SKIPPED: dict[tuple[str, int], str] = {
    ("36", 6): SOONER,
    ("36", 7): SOONER,
    ("36", 8): SOONER,
    ("36", 9): SOONER,
    ("37", 6): "The poll that is held when the container dies answers `continued` here, as in 36.",
}
"""Scenario and ``n`` → why the answer is not compared at all."""

EXCEPTIONS: dict[tuple[str, int | None, str], str] = {
    ("*", None, "body.servicePorts:"): APPS,
    ("*", None, "body.service_ports:"): APPS,
    ("04", None, "body.data.agent_list.total_count"): "This computer is one agent.",
    ("04", 8, "console stdout"): DEVICES,
    ("04", 16, "ws console stdout"): DEVICES,
    ("05", None, "body.data.agent_list.total_count"): "This computer is one agent.",
    ("05", None, "body.keypair_using keys"): "Sessions of others were left over in the recording.",
    ("05", 4, "body.presets[].name"): "The server's own order of presets is not kept.",
    ("17", 3, "console stdout"): "What is written past Python comes through a pipe of its own.",
    ("18", 2, "console kinds"): EVEN,
    ("18", 4, "console kinds"): EVEN,
    ("27", 16, ""): "The requests that waited for the lost run come to their turn at this moment.",
    ("28", 4, "console stdout"): PIDS,
    ("28", 5, "console"): "A print right before a SIGKILL arrives, or not, or without its end.",
    ("29", None, "console stdout"): PIDS,
    ("29a", 5, "console stdout"): PIDS,
    ("29a", 6, ""): LOG,
    ("37", 7, "body.data.compute_session_list.items[].status"): SOONER,
}
"""Scenario (``*``: any), ``n`` (``None``: any), beginning of the difference → why it is right so."""

if importlib.util.find_spec("asyncssh") is None:  # sessions then have no app at all
    for _scenario, _n in (("24", 7), ("33", 5), ("92", 7)):
        EXCEPTIONS[_scenario, _n, "body: recorded [{'name': 'sshd'"] = APPS

SOMETIMES = frozenset(
    {
        ("17", 3, "console stdout"),
        ("18", 2, "console kinds"),
        ("18", 4, "console kinds"),
        ("27", 16, ""),
        ("28", 5, "console"),
    }
)
"""Those of `EXCEPTIONS` that a race decides."""
