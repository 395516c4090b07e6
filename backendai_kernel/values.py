"""A variable of a session brought here, as plain data: nothing from a session is ever unpickled."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
from collections.abc import Callable
from importlib import resources
from typing import Any

from .errors import BackendError, ConfigError, NotFound, ProtocolError
from .protocol.envelope import Message
from .run import collect
from .session import ComputeSession

MIME = "application/vnd.backendai.value+json"

_WHAT_COMES = (
    "Numbers, text, bytes, dates, lists, dictionaries, NumPy arrays and pandas tables of them can "
    "be brought back; write others to a file."
)


async def pull(session: ComputeSession, name: str) -> Any:
    """Return the value that a variable of the session's interpreter has.

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
        f"space['send'](get_ipython(), {name!r}))[1])({{'__name__': '_backendai'}})"
    )
    options = {"silent": False, "store_history": False}
    for event in await collect(session.cell(code, {"options": options})):
        if isinstance(event, Message) and event.kind == "display_data":
            told = event.content.get("data", {}).get(MIME)
            if isinstance(told, dict):
                return _value(name, told)
    raise ProtocolError(f"The session did not tell what {name!r} is.", hint="Print it to look.")


def _value(name: str, told: dict[str, Any]) -> Any:
    if "missing" in told:
        raise NotFound(
            f"There is no variable {name!r} in the session.",
            status=404,
            hint="`-o` takes the name of a variable that the code sets.",
        )
    if "refused" in told:
        raise ConfigError(f"{name!r} cannot be brought back: {told['refused']}.", hint=_WHAT_COMES)
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
    if not isinstance(told, dict):
        return told
    [(tag, content)] = told.items()
    return _FORMS[tag](content)


def _items(content: Any) -> list[Any]:
    return [restore(item) for item in content]


def _npy(text: str) -> Any:
    import numpy

    return numpy.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def _column(told: dict[str, Any]) -> Any:
    import pandas

    if "npy" in told:
        return pandas.Series(_npy(told["npy"]))
    items = pandas.Series(_items(told["items"]), dtype="object")
    if told["dtype"] == "object":
        return items
    if told["dtype"] == "category":
        return items.astype("category")
    return pandas.Series(list(items), dtype=told["dtype"])


def _index(told: dict[str, Any]) -> Any:
    import pandas

    if "range" in told:
        return pandas.RangeIndex(*told["range"], name=restore(told["name"]))
    if "levels" in told:
        levels = [_column(each) for each in told["levels"]]
        return pandas.MultiIndex.from_arrays(levels, names=_items(told["names"]))
    return pandas.Index(_column(told["column"]), name=restore(told["name"]))


def _frame(content: Any) -> Any:
    import pandas

    names, columns, index, name = content
    frame = pandas.DataFrame({i: _column(each) for i, each in enumerate(columns)})
    labels = _index(index)
    frame = frame.set_axis(labels, axis=0) if columns else pandas.DataFrame(index=labels)
    restored = _items(names)
    if not restored:
        return frame
    if all(isinstance(label, tuple) for label in restored):
        frame.columns = pandas.MultiIndex.from_tuples(restored)
    else:
        frame.columns = pandas.Index(restored, name=restore(name))
    return frame


def _series(content: Any) -> Any:
    column, index, name = content
    return _column(column).set_axis(_index(index)).rename(restore(name))


def _timestamp(text: str) -> Any:
    import pandas

    return pandas.Timestamp(text)


def _missing(name: str) -> Any:
    import pandas

    return {"NaT": pandas.NaT, "NA": pandas.NA}[name]


_FORMS: dict[str, Callable[[Any], Any]] = {
    "list": _items,
    "tuple": lambda content: tuple(_items(content)),
    "set": lambda content: set(_items(content)),
    "frozenset": lambda content: frozenset(_items(content)),
    "dict": lambda content: {restore(key): restore(value) for key, value in content},
    "bytes": base64.b64decode,
    "bytearray": lambda content: bytearray(base64.b64decode(content)),
    "complex": lambda content: complex(*content),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda content: datetime.timedelta(*content),
    "Decimal": decimal.Decimal,
    "scalar": lambda content: _npy(content)[()],
    "array": _npy,
    "DataFrame": _frame,
    "Series": _series,
    "Timestamp": _timestamp,
    "missing": _missing,
}
