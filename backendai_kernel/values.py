"""A variable of a session brought here, as plain data: nothing from a session is ever unpickled."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import secrets
import zlib
from importlib import resources
from typing import Any

from .errors import BackendError, ConfigError, NotFound, ProtocolError, RunFailed
from .protocol import remote_restore, remote_values
from .protocol.envelope import Message
from .run import collect
from .session import ComputeSession

MIME = "application/vnd.backendai.value+json"

_PART = 400_000  # characters of a value in one request

_WHAT_COMES = (
    "Numbers, text, bytes, dates, lists, dictionaries, NumPy arrays and pandas tables of them can "
    "be brought back; write others to a file."
)


async def pull(session: ComputeSession, name: str, *, pickled: bool = False) -> Any:
    """Return the value that a variable of the session's interpreter has.

    Args:
        pickled: Take any value that can be pickled. Whoever controls the session can then run code
            here, so it must be wanted.

    Raises:
        NotFound: There is no such variable.
        ConfigError: Its value is no plain data, or the library that it needs is missing here.
        ProtocolError: The session's interpreter sends no envelopes, or something unreadable.
        RunLost, ConnectError, APIError: As `Run`.
    """
    if not session.hello:
        raise ProtocolError(
            "Variables cannot be brought back from this session: it has no IPython.",
            hint="Print the value, or write it to a file.",
        )
    source = (
        resources.files("backendai_kernel.protocol")
        .joinpath("remote_values.py")
        .read_text(encoding="utf-8")
    )
    code = (
        f"(lambda space: (exec(compile({source!r}, '<backend.ai>', 'exec'), space), "
        f"space['send'](get_ipython(), {name!r}, {pickled}))[1])({{'__name__': '_backendai'}})"
    )
    options = {"silent": False, "store_history": False}
    for event in await collect(session.cell(code, {"options": options})):
        if isinstance(event, Message) and event.kind == "display_data":
            told = event.content.get("data", {}).get(MIME)
            if isinstance(told, dict):
                value = _value(name, told)
                return pickle.loads(value) if pickled else value
    raise ProtocolError(f"The session did not tell what {name!r} is.", hint="Print it to look.")


async def push(session: ComputeSession, name: str, value: Any, *, pickled: bool = False) -> int:
    """Set a variable of the session's interpreter; return the characters that were sent.

    The value goes in parts and is set when all of them have arrived as they were sent; cancelling
    sets nothing.

    Args:
        pickled: Also what is no plain data, such as objects of classes that the session knows.

    Raises:
        ConfigError: The value is no plain data, or cannot be pickled.
        ProtocolError: The session's interpreter sends no envelopes.
        RunFailed: It cannot restore the value; it says why.
        RunLost, ConnectError, APIError: As `Run`.
    """
    if not session.hello:
        raise ProtocolError("Variables cannot be set in this session: it has no IPython.")
    try:
        plain = pickle.dumps(value, protocol=4) if pickled else value
        told = json.dumps(remote_values.form(plain))  # type: ignore[no-untyped-call]  # see pyproject
    except remote_values.NotPlain as exc:
        raise ConfigError(
            f"{name!r} cannot be sent: {exc}.",
            hint=f"{_WHAT_COMES.replace('brought back', 'sent')} --pickle sends more.",
        ) from exc
    except RecursionError as exc:
        raise ConfigError(f"{name!r} is nested too deeply, or in itself.") from exc
    except (pickle.PicklingError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{name!r} cannot be pickled: {exc}.") from exc
    text = base64.b64encode(zlib.compress(told.encode(), 1)).decode()
    key = f"_backendai_{secrets.token_hex(8)}"  # a module, so that the user's names are left alone
    begin = f"import sys, types; sys.modules[{key!r}] = types.ModuleType({key!r}); "
    await _do(session, name, f"exec({begin + f'sys.modules[{key!r}].parts = []'!r}, {{}})")
    for start in range(0, len(text), _PART):
        part = text[start : start + _PART]
        await _do(session, name, f"__import__('sys').modules[{key!r}].parts.append({part!r})")
    source = (
        resources.files("backendai_kernel.protocol")
        .joinpath("remote_restore.py")
        .read_text(encoding="utf-8")
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    await _do(
        session,
        name,
        f"(lambda space: (exec(compile({source!r}, '<backend.ai>', 'exec'), space), "
        f"space['put'](get_ipython(), {key!r}, {name!r}, {digest!r}, {pickled}))[1])"
        "({'__name__': '_backendai'})",
    )
    return len(text)


async def _do(session: ComputeSession, name: str, code: str) -> None:
    """Run code of ours out of the user's sight.

    Raises:
        RunFailed: It failed.
    """
    options = {"silent": False, "store_history": False}
    for event in await collect(session.cell(f"{code};", {"options": options})):
        if isinstance(event, Message) and event.kind == "error":
            why = f"{event.content.get('ename')}: {event.content.get('evalue')}"
            raise RunFailed(f"{name!r} could not be set in the session: {why}.")


def _value(name: str, told: dict[str, Any]) -> Any:
    if "missing" in told:
        raise NotFound(
            f"There is no variable {name!r} in the session.",
            status=404,
            hint="`-o` takes the name of a variable that the code sets.",
        )
    if "refused" in told:
        raise ConfigError(f"{name!r} cannot be brought back: {told['refused']}.", hint=_WHAT_COMES)
    digest = remote_values.digest(told.get("value"))  # type: ignore[no-untyped-call]
    if told.get("sha256", digest) != digest:
        raise ProtocolError(f"The value of {name!r} did not arrive as it was sent.")
    try:
        return restore(told["value"])
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{name!r} cannot be brought back without {exc.name}, which is not installed here.",
            hint=f"Run: %pip install {exc.name}",
        ) from exc
    except BackendError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise ProtocolError(f"The value of {name!r} came in a form that cannot be read.") from exc


def restore(told: Any) -> Any:
    """Return the value that a tagged form stands for; see ``protocol/remote_values.py``.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: It is no such form.
        ModuleNotFoundError: NumPy or pandas is needed and not here.
    """
    return remote_restore.restore(told)  # type: ignore[no-untyped-call]  # see pyproject
