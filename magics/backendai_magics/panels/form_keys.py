"""The form for SSH: which session, the lines to copy, fingerprints, and what to do with the key."""

from __future__ import annotations

import asyncio
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from .desk import Attached
from .forms import Form, change, line_markup, problem_markup, show

if TYPE_CHECKING:
    from .desk import Message
    from .download import KeyDownload


class KeysForm(Form):
    """Shows what this computer has of one session's keys."""

    def build(self) -> list[w.Widget]:
        self._looking: asyncio.Task[None] | None = None
        self._session = self.make(w.Dropdown, "bai-stacked", "bai-pick", description="Session")
        self._hint = self.text('<p class="bai-hint">Asking the server …</p>')
        self._lines = self.text("")
        self._facts = self.text("")
        self._fetch = self.button("Fetch the key", "main", self._fetch_key)
        self._configure = self.button("Write the SSH configuration", "plain", self._write)
        self._download: KeyDownload | None = None
        buttons: list[w.Widget] = [self._fetch]
        if find_spec("anywidget") is not None:
            from .download import KeyDownload

            self._download = KeyDownload(
                lambda: self.begin(self._save()), layout=self._layout, _dom_classes=("bai-save",)
            )
            self.keep(self._download)
            buttons.append(self._download)
        self._acts = self.row(w.HBox, "bai-actions", children=[*buttons, self._configure])
        self._failed = self.text("", "bai-failed")
        self._said = self.text("", "bai-hint")
        for control in (self._session, self._acts):
            show(control, False)
        self._session.observe(lambda _: self._chosen(), "value")
        return [
            *(self._session, self._hint, self._lines, self._facts),
            *(self._acts, self._failed, self._said),
        ]

    # -- values -------------------------------------------------------------------------------

    def told(self, message: Message) -> None:
        if message.get("sessions") is not None:
            self._take_sessions(message["sessions"])
        if "problem" in message:
            self.show_problem(message["problem"])

    def _take_sessions(self, sessions: list[list[str]]) -> None:
        options = [(name, session_id) for session_id, name in sessions]
        before = self._session.value
        if list(self._session.options) != options:
            ids = [session_id for _, session_id in options]
            with self.quietly(), self._session.hold_sync():
                self._session.options = options
                self._session.value = before if before in ids else next(iter(ids), None)
        show(self._session, bool(options))
        if not options:
            self._show_nothing("No session runs: launch one first.")
        elif self._session.value != before or not before:
            self._look_soon()

    def want(self, session_id: str, name: str) -> None:
        """Show a session that somebody has asked for elsewhere."""
        options = list(self._session.options)
        if session_id not in [each for _, each in options]:
            with self.quietly():
                self._session.options = [(name, session_id), *options]
        if self._session.value == session_id:
            self._look_soon()
        self._session.value = session_id
        show(self._session, True)

    def _show_nothing(self, why: str) -> None:
        change(self._hint, value=f'<p class="bai-hint">{escape(why)}</p>')
        for each in (self._lines, self._facts, self._said):
            change(each, value="")
        show(self._acts, False)

    def take(self, facts: Message) -> None:
        """Show what there is of the chosen session's keys."""
        remark = "" if facts["configured"] else "once the configuration is written"
        lines = [
            line_markup("In a terminal", facts["command"]),
            line_markup("In OpenSSH, VS Code …", facts["line"], remark),
        ]
        there, config = facts["fetched"], facts["config"]
        knows = "knows your sessions" if facts["configured"] else "does not know your sessions yet"
        rows = {
            "Key": (facts["fingerprint"] or "fetched") if there else "not fetched yet",
            "Host key": f"{facts['host_fingerprint']}, proved to be the session's"
            if there
            else "proved when the key is fetched",
            "On disk": f"{facts['path']} (mode {facts['mode']}, yours alone)"
            if there
            else "nothing",
            "Configuration": f"{config} {knows}",
        }
        told = "".join(
            f"<div><dt>{label}</dt><dd>{escape(value)}</dd></div>" for label, value in rows.items()
        )
        change(self._lines, value=f'<div class="bai-same">{"".join(lines)}</div>')
        change(self._facts, value=f'<dl class="bai-facts bai-wide">{told}</dl>')
        change(self._hint, value="")
        show(self._acts, True)
        show(self._fetch, not there)

    def show_problem(self, error: Message | None) -> None:
        change(self._failed, value=problem_markup(error))

    # -- what a person does -------------------------------------------------------------------

    def _chosen(self) -> None:
        if not self.is_quiet:
            change(self._said, value="")
            self._look_soon()

    def _look_soon(self) -> None:
        self.begin(self._look(self._session.value))

    async def _look(self, session_id: str) -> None:
        self._show_nothing("Asking the server …")
        await self._act("look", session_id)

    async def _act(self, verb: str, session_id: str) -> Any:
        answer = await self.ask(verb, session=session_id)
        facts = answer.value if isinstance(answer, Attached) else answer
        if session_id == self._session.value:
            self.take(facts)
        return answer

    async def _fetch_key(self, _: w.Button) -> None:
        await self._act("fetch", self._session.value)
        self._say("The key is here, and the host key is proved.")

    async def _save(self) -> None:
        assert self._download is not None
        name, key = "", None
        try:
            answer = await self._act("download", self._session.value)
            name, [key] = answer.value["name"], answer.buffers
            self._say(
                f"Saved as {name}. OpenSSH wants it private: chmod 600 {name}. The copy on the "
                f"kernel's computer, {answer.value['path']}, has mode {answer.value['mode']}."
            )
        finally:
            self._download.save(name, key)

    async def _write(self, _: w.Button) -> None:
        answer = await self.ask("config")
        written, hosts = answer["written"], answer["hosts"]
        await self._act("look", self._session.value)
        wrote = f"Wrote {', '.join(written)}" if written else "Everything was as it should be"
        self._say(f"{wrote}; {len(hosts)} host{'' if len(hosts) == 1 else 's'}.")

    def _say(self, text: str) -> None:
        change(self._said, value=f'<p role="status">{escape(text)}</p>')
