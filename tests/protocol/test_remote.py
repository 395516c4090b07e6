"""What is sent to a session's interpreter, in a real ipykernel behind a real connection."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from backendai_kernel.protocol import envelope
from backendai_kernel.protocol.envelope import Decoder, Message
from backendai_kernel.protocol.run import Media, Text

LIMIT = 60


@dataclass
class Interpreter:
    """An ipykernel, seen as a session's runner sees it."""

    client: BlockingKernelClient
    manager: KernelManager
    reply: dict[str, Any]
    decoder: Decoder

    def execute(self, code: str) -> list[Any]:
        """Run code; return its texts and messages, and as they are the outputs that are neither."""
        seen: list[Any] = []

        def take(message: dict[str, Any]) -> None:
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                seen.append(Text(content["name"], content["text"]))
            elif kind == "display_data" and list(content["data"]) == ["image/svg+xml"]:
                media = Media("image/svg+xml", content["data"]["image/svg+xml"])
                seen.extend(m for m in [self.decoder.read(media)] if m is not None)
            elif kind not in ("status", "execute_input"):
                seen.append((kind, content))

        message = self.client.execute_interactive(
            code, output_hook=take, timeout=LIMIT, store_history=True
        )
        self.reply = message["content"]
        return merged(seen)

    def bootstrap(self) -> dict[str, Any]:
        """Send what is sent before any user code; return what the interpreter told of itself."""
        nonce = envelope.draw_nonce()
        self.decoder = Decoder(nonce)
        (hello,) = self.execute(envelope.bootstrap(nonce))
        assert (hello.kind, self.reply["status"]) == ("hello", "ok")
        content: dict[str, Any] = hello.content
        return content

    def wait_for_end(self) -> None:
        """Return once its process has ended by itself."""
        self.manager.provisioner.process.wait(LIMIT)


def merged(seen: list[Any]) -> list[Any]:
    """Join neighbouring texts of one stream: where ipykernel cuts them is chance."""
    joined: list[Any] = []
    for each in seen:
        last = joined[-1] if joined else None
        if isinstance(each, Text) and isinstance(last, Text) and each.stream == last.stream:
            joined[-1] = Text(each.stream, last.text + each.text)
        else:
            joined.append(each)
    return joined


def start(**words: Any) -> Iterator[Interpreter]:
    manager = KernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    )
    folder = tempfile.TemporaryDirectory()  # a session's interpreter has a folder of its own
    # Where it sees pytest, ipykernel does not watch what is written past sys.stdout.
    strange = ("IPYTHONDIR", "PYTEST_CURRENT_TEST")
    own = {name: value for name, value in os.environ.items() if name not in strange}
    manager.start_kernel(cwd=folder.name, env={**own, "HOME": folder.name}, **words)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=LIMIT)
        yield Interpreter(client, manager, {}, Decoder())
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        folder.cleanup()


@pytest.fixture
def untouched() -> Iterator[Interpreter]:
    """An interpreter that has run nothing."""
    yield from start()


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """An interpreter that has been taught to send envelopes; the tests share it."""
    for interpreter in start():
        interpreter.bootstrap()
        yield interpreter


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no such terminals")
@pytest.mark.parametrize(("given", "then"), [(0, 80), (120, 120)])
def test_a_terminal_without_a_size_gets_one_and_another_keeps_its_own(given, then):
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, given, 0, 0))
    try:
        for interpreter in start(stdout=theirs, stderr=theirs):
            interpreter.bootstrap()
            (text,) = interpreter.execute(
                "import os, sys; print(os.get_terminal_size(sys.stderr.fileno()).columns)"
            )
    finally:
        os.close(ours)
        os.close(theirs)

    assert text == Text("stdout", f"{then}\n")


# -- what it leaves behind --------------------------------------------------------------------


def test_the_bootstrap_leaves_no_trace(untouched):
    hello = untouched.bootstrap()
    (names,) = untouched.execute("print(sorted(n for n in dir() if not n.startswith('_')))")
    first = untouched.reply["execution_count"]
    inputs = untouched.execute("print(In, flush=True)")
    history = untouched.execute("%history")

    assert names.text == "['In', 'Out', 'exit', 'get_ipython', 'open', 'quit']\n"
    assert first == 1
    assert hello["is_fresh"] is True
    assert "_backendai" not in str(inputs)
    assert "print(sorted" in inputs[0].text
    assert history[0].text.startswith("print(sorted")


def test_the_interpreter_tells_what_it_is(untouched):
    import ipykernel
    import IPython

    hello = untouched.bootstrap()

    assert hello["version"] == envelope.VERSION
    assert hello["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    assert (hello["ipython"], hello["ipykernel"]) == (IPython.__version__, ipykernel.__version__)
    (pid,) = untouched.execute("import os; print(os.getpid())")
    assert hello["pid"] == int(pid.text)


def test_the_mark_of_the_interpreter_is_not_among_the_users_files(untouched):
    hello = untouched.bootstrap()
    code = f"import glob, os; print(glob.glob('.b*'), os.path.isdir({hello['mark']!r}))"
    (seen,) = untouched.execute(code)
    assert seen.text == "[] True\n"


def test_the_mark_is_gone_when_the_interpreter_ends(untouched):
    hello = untouched.bootstrap()
    (seen,) = untouched.execute(f"import os; print(os.path.abspath({hello['mark']!r}))")
    mark = Path(seen.text.strip())
    was_there = mark.is_symlink()
    untouched.execute(
        "import multiprocessing\nwith multiprocessing.Pool(1) as pool: pool.map(abs, [1])"
    )
    is_there_after_a_child = mark.is_symlink()
    untouched.client.shutdown()
    untouched.wait_for_end()

    assert (was_there, is_there_after_a_child, mark.is_symlink()) == (True, True, False)


def test_an_interpreter_taught_by_another_release_is_taught_anew(untouched):
    untouched.bootstrap()
    untouched.execute("get_ipython()._bai.version = 1; first = get_ipython()._bai")
    untouched.bootstrap()
    (value,) = untouched.execute("get_ipython()._bai is first")

    assert value.content["data"] == {"text/plain": "False"}


def test_a_request_that_did_not_arrive_whole_says_so(interpreter):
    *_, last = envelope.requests(interpreter.decoder.nonce, {}, "x" * 200_000)
    (message,) = interpreter.execute(last)

    assert message.content["evalue"] == "This request did not arrive whole: send it again."


def test_an_interpreter_that_has_run_code_is_not_fresh(untouched):
    untouched.execute("x = 1")

    assert untouched.bootstrap()["is_fresh"] is False


def test_a_second_kernel_takes_over_with_a_nonce_of_its_own(untouched):
    untouched.bootstrap()
    before = untouched.decoder
    again = untouched.bootstrap()
    after, untouched.decoder = untouched.decoder, before

    assert again["is_fresh"] is False
    assert untouched.execute("1") == []  # the first one cannot read it any more
    untouched.decoder = after
    assert [m.kind for m in untouched.execute("2")] == ["execute_result"]


# -- outputs ----------------------------------------------------------------------------------


def test_a_value_comes_whole_and_with_its_number(interpreter):
    (message,) = interpreter.execute("6 * 7")

    assert message == Message(
        "execute_result",
        {
            "data": {"text/plain": "42"},
            "metadata": {},
            "execution_count": interpreter.reply["execution_count"],
        },
    )


def test_the_last_values_are_still_at_hand(interpreter):
    interpreter.execute("6 * 7")
    (message,) = interpreter.execute("_ + 1")

    assert message.content["data"] == {"text/plain": "43"}


def test_html_comes_with_its_text(interpreter):
    (message,) = interpreter.execute("from IPython.display import HTML\nHTML('<b>x</b>')")

    assert message.kind == "execute_result"
    assert message.content["data"] == {
        "text/html": "<b>x</b>",
        "text/plain": "<IPython.core.display.HTML object>",
    }


def test_display_comes_with_its_metadata(interpreter):
    (message,) = interpreter.execute(
        "display({'text/markdown': '*x*', 'application/x-own+json': {'a': [1]}}, raw=True,"
        " metadata={'isolated': True})"
    )

    assert message.kind == "display_data"
    assert message.content["data"] == {
        "text/markdown": "*x*",
        "application/x-own+json": {"a": [1]},
    }
    assert message.content["metadata"] == {"isolated": True}


def test_a_display_can_be_updated(interpreter):
    shown, updated = interpreter.execute("h = display('a', display_id='me'); h.update('b')")

    assert (shown.kind, updated.kind) == ("display_data", "update_display_data")
    assert updated.content["data"] == {"text/plain": "'b'"}
    assert shown.content["transient"] == updated.content["transient"] == {"display_id": "me"}


def test_bytes_come_as_base64(interpreter):
    (message,) = interpreter.execute("display({'image/png': b'\\x89PNG'}, raw=True)")

    assert message.content["data"] == {"image/png": "iVBORw=="}


def test_an_output_of_megabytes_comes_in_parts_and_whole(interpreter):
    (message,) = interpreter.execute("display({'text/plain': 'ü' * 1_000_000}, raw=True)")

    assert message.content["data"]["text/plain"] == "ü" * 1_000_000


@pytest.mark.parametrize("piece", ["iVBORw0KGgo+/", "-->", '\\\\"', "--!>", "\\u26c4\\n", "\\x00"])
def test_every_letter_of_a_large_output_arrives_and_no_part_is_too_large(
    interpreter, piece, monkeypatch
):
    sizes: list[int] = []
    read = interpreter.decoder.read

    class Measured(Decoder):
        def read(self, event: Any) -> Any:
            sizes.append(len(json.dumps(event.data)))
            assert event.data.count(">") == 1  # the one that ends the comment
            return read(event)

    monkeypatch.setattr(interpreter, "decoder", Measured())
    code = f"display({{'image/png': {piece!r} * 300_000, 'text/plain': 'x'}}, raw=True)"
    (shown,) = interpreter.execute(code)

    assert shown.content["data"] == {"image/png": piece * 300_000, "text/plain": "x"}
    assert max(sizes) <= 256 * 1024 + 200  # with the head of the comment


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("float('nan')", None),
        ("object", "<class 'object'>"),
        ("__import__('datetime').date(2024, 2, 29)", "2024-02-29"),
        ("{1}", [1]),
    ],
)
def test_what_json_does_not_know_is_no_error(interpreter, value, shown):
    (message,) = interpreter.execute(f"display({{'a/b': {value}}}, raw=True)")

    assert (message.kind, interpreter.reply["status"]) == ("display_data", "ok")
    if shown is not None:
        assert message.content["data"]["a/b"] == shown


def test_text_and_displays_keep_their_order(interpreter):
    seen = interpreter.execute(
        "print('a', flush=True); display({'a/b': 1}, raw=True); print('c', flush=True); 4"
    )

    kinds = [each.text if isinstance(each, Text) else each.kind for each in seen]
    assert kinds == ["a\n", "display_data", "c\n", "execute_result"]


def test_nothing_is_sent_for_none_and_for_a_silenced_value(interpreter):
    assert interpreter.execute("None") == []
    assert interpreter.execute("1;") == []


def test_threads_do_not_mix_their_parts(interpreter):
    seen = interpreter.execute(
        "import threading\n"
        "def show(i): display({'text/plain': str(i) * 300_000}, raw=True)\n"
        "ts = [threading.Thread(target=show, args=(i,)) for i in range(4)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]; None"
    )

    texts = sorted(m.content["data"]["text/plain"] for m in seen)
    assert texts == [str(i) * 300_000 for i in range(4)]


# -- errors -----------------------------------------------------------------------------------


def test_an_error_comes_with_its_name_and_traceback_and_nothing_else(interpreter):
    (message,) = interpreter.execute("1/0")

    assert message.kind == "error"
    assert message.content["ename"] == "ZeroDivisionError"
    assert message.content["evalue"] == "division by zero"
    assert "ZeroDivisionError" in message.content["traceback"][-1]
    assert len(message.content["traceback"]) > 1
    assert interpreter.reply["status"] == "error"


def test_a_syntax_error_is_an_error_too(interpreter):
    (message,) = interpreter.execute("def")

    assert message.content["ename"] == "SyntaxError"


def test_an_error_whose_text_fails_ends_in_the_error_of_its_text(interpreter):
    *_, last = interpreter.execute(
        "class Odd(Exception):\n    def __str__(self): raise ValueError('no text')\nraise Odd"
    )

    assert (last.kind, last.content["ename"]) == ("error", "ValueError")


def test_an_error_that_shows_itself_is_shown_so(interpreter):
    (message,) = interpreter.execute(
        "class Kind(Exception):\n    def _render_traceback_(self): return ['one line']\nraise Kind"
    )

    assert message.content["traceback"] == ["one line"]
