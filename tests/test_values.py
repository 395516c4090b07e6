"""Variables brought back from a session: every form there and back, and nothing unpickled."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import io
import json
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from backendai_kernel import values
from backendai_kernel.client import Client
from backendai_kernel.errors import ConfigError, NotFound, ProtocolError, RunFailed
from backendai_kernel.protocol import calls, remote_values
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from backendai_kernel.values import MIME, pack, pull, push, restore
from tests.test_vfolders import config_of

PLAIN: list[Any] = [
    None,
    True,
    7,
    -(2**80),
    2.5,
    "ünïcode\n\x00",
    [1, [2, (3,)]],
    {"a": 1, 2: "b", (1, 2): [None]},
    (1, 2),
    {1, 2},
    frozenset("a"),
    b"\x00\xff",
    bytearray(b"x"),
    3 + 4j,
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    datetime.date(2026, 1, 2),
    datetime.time(3, 4),
    datetime.timedelta(days=-1, microseconds=5),
    decimal.Decimal("1.50"),
    [],
    {},
    [1, "a", None, True, -0.5],
    "ü" * 100_000,
    "lone \ud800" * 20_000,
    b"\x00" * 100_000,
    bytearray(b"x" * 100_000),
    ["x" * 70_000, {"k": "y" * 70_000}],
]
NO_ARROW, ARROW = False, True
HERE = [
    NO_ARROW,
    pytest.param(ARROW, marks=pytest.mark.skipif("not has_arrow()", reason="no pyarrow")),
]


def has_arrow() -> bool:
    return values.importlib.util.find_spec("pyarrow") is not None


def there_and_back(value: Any, use_arrow: bool = NO_ARROW) -> Any:
    file = io.BytesIO()
    pack(file, {"v": value}, use_arrow)
    return restore(file, file.tell())["v"]


def packed(told: Any, data: bytes = b"") -> tuple[io.BytesIO, int]:
    """A file whose JSON says *told*, with *data* before it."""
    text = json.dumps(told).encode()
    file = io.BytesIO(data + text + struct.pack("<Q", len(text)))
    return file, len(file.getvalue())


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:40])
def test_plain_values_come_back_as_they_were(value):
    back = there_and_back(value)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_special_floats(value):
    assert repr(there_and_back(value)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        numpy.arange(12, dtype="int16").reshape(3, 4),
        numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
        numpy.array(["a", "bc"]),
        numpy.array([], dtype="float32"),
        numpy.array([True, False]),
        numpy.array(["2026-01-02", "NaT"], dtype="datetime64[D]"),
        numpy.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=lambda value: str(value.dtype),
)
def test_arrays(value):
    back = there_and_back(value)

    assert back.dtype == value.dtype
    assert back.flags.f_contiguous == value.flags.f_contiguous
    numpy.testing.assert_array_equal(back, value)


def test_scalars_of_numpy():
    back = there_and_back(numpy.float32(1.5))

    assert (type(back), back) == (numpy.float32, 1.5)


TWO = pandas.MultiIndex.from_tuples([("b", 1), ("a", 2)], names=["letter", None])
FRAMES = {
    "objects": pandas.DataFrame(
        {"b": ["x", None], "c": [b"\0x", None], "d": [1, "x"]}, dtype=object
    ),
    "gaps": pandas.DataFrame({"s": ["x", math.nan], "f": [1.5, math.nan]}, dtype=object),
    "both gaps": pandas.DataFrame({"s": ["x", math.nan, None]}, dtype=object),
    "lone": pandas.DataFrame({"s": ["\ud800", "x"]}, dtype=object),
    "floats": pandas.DataFrame({"a": [1, 2], "b": [1.5, math.nan], "c": [1j, 2]}),
    "small": pandas.DataFrame({"a": [1, 2]}, dtype="int8", index=numpy.array([3, 4], dtype="u2")),
    "strings": pandas.DataFrame({"s": pandas.array(["ü", None], dtype="string")}),
    "python strings": pandas.DataFrame({"s": pandas.array(["ü", None], "string[python]")}),
    "inferred": pandas.DataFrame({"s": ["a", None, "c"]}, index=["r1", "r2", "r3"]),
    "times": pandas.DataFrame({"t": pandas.to_datetime(["2026-01-02", None])}),
    "seconds": pandas.DataFrame({"t": numpy.array(["2026-01-02", "NaT"], dtype="M8[s]")}),
    "deltas": pandas.DataFrame({"t": pandas.to_timedelta(["1 day", None])}),
    "zone": pandas.DataFrame(
        {"z": pandas.to_datetime(["2026-01-02", None]).tz_localize("Asia/Seoul")}
    ),
    "zone and index": pandas.DataFrame(
        {"v": [1, 2, 3]}, index=pandas.date_range("2026-10-31", periods=3, tz="Europe/Berlin")
    ),
    "category": pandas.DataFrame(
        {"k": pandas.Categorical(["a", "b", None], categories=["c", "b", "a"], ordered=True)}
    ),
    "category of times": pandas.DataFrame(
        {"k": pandas.Categorical(pandas.to_datetime(["2026-01-02", "2026-01-01"]))}
    ),
    "nullable": pandas.DataFrame(
        {
            "i": pandas.array([1, None], dtype="Int64"),
            "u": pandas.array([None, 255], dtype="UInt8"),
            "f": pandas.array([1.5, None], dtype="Float32"),
            "b": pandas.array([True, None], dtype="boolean"),
        }
    ),
    "two rows of names": pandas.DataFrame([[1, 2]], columns=TWO),
    "two columns of labels": pandas.DataFrame({"v": [1, 2]}, index=TWO),
    "same name twice": pandas.DataFrame([[1, 2.5]], columns=["d", "d"]),
    "no columns": pandas.DataFrame(index=[1, 2, 3]),
    "no rows": pandas.DataFrame({"a": pandas.array([], "string"), "b": numpy.array([], "i4")}),
    "nothing": pandas.DataFrame(),
    "mixed names": pandas.DataFrame([[1, 2, 3]], columns=["a", 1, None]),
    "lists": pandas.DataFrame({"m": [[1, 2], {"k": decimal.Decimal("1.50")}]}),
    "dates": pandas.DataFrame({"d": [datetime.date(2026, 1, 2), None]}, dtype=object),
}


@pytest.mark.parametrize("use_arrow", HERE)
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_tables(frame, use_arrow):
    back = there_and_back(frame, use_arrow)

    pandas.testing.assert_frame_equal(back, frame, check_column_type="exact", check_freq=True)
    for name, old in zip(range(frame.shape[1]), frame.dtypes, strict=True):
        assert str(back.dtypes.iloc[name]) == str(old)
        if str(old) == "object":
            kinds = [list(map(type, each.iloc[:, name])) for each in (back, frame)]
            assert kinds[0] == kinds[1]


@pytest.mark.parametrize("use_arrow", HERE)
def test_a_long_table_goes_in_parts(use_arrow, monkeypatch):
    monkeypatch.setattr(remote_values, "ROWS", 1000)
    frame = pandas.DataFrame(
        {
            "o": pandas.Series([None, "ü", "x" * 50] * 1200, dtype=object),
            "s": pandas.array(["a", None, "b"] * 1200, dtype="string"),
        }
    )

    pandas.testing.assert_frame_equal(there_and_back(frame, use_arrow), frame)


def test_series_and_timestamps():
    series = pandas.Series([1.5, 2], index=["a", "b"], name="s")

    pandas.testing.assert_series_equal(there_and_back(series), series)
    pandas.testing.assert_index_equal(there_and_back(TWO), TWO)
    stamp = pandas.Timestamp("2026-01-02 03:04", tz="UTC")
    assert there_and_back(stamp) == stamp
    assert there_and_back(pandas.Timedelta("1s 5ns")) == pandas.Timedelta("1s 5ns")
    assert there_and_back(pandas.NaT) is pandas.NaT


@pytest.mark.parametrize("use_arrow", HERE)
def test_tables_of_pyarrow(use_arrow):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1, None], "n": [{"x": [1]}, None], "s": ["ü", None]})

    assert there_and_back(table, use_arrow).equals(table)
    assert there_and_back(table.to_batches()[0], use_arrow).equals(table.to_batches()[0])
    if use_arrow:
        frame = table.to_pandas(types_mapper=pandas.ArrowDtype)
        pandas.testing.assert_frame_equal(there_and_back(frame, use_arrow), frame)


def test_tables_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {"a": [1, None], "s": ["ü", None], "t": [datetime.datetime(2026, 1, 2), None]}
    ).with_columns(polars.col("s").cast(polars.Categorical).alias("c"))

    assert there_and_back(frame).equals(frame)
    assert there_and_back(frame).schema == frame.schema
    assert there_and_back(frame["s"]).equals(frame["s"])


class Stranger:
    pass


PERIODS = pandas.DataFrame({"p": pandas.period_range("2026-01", periods=2, freq="M")})


@pytest.mark.parametrize(
    "value",
    [
        Stranger(),
        [open],
        numpy.array([object()]),
        {"k": Stranger()},
        type("L", (list,), {})(),
        PERIODS,
        pandas.DataFrame({"s": [Stranger()]}),
    ],
)
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(ConfigError, match=r"'v' cannot be sent: .*\n.*--pickle"):
        there_and_back(value)


def test_what_is_nested_in_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(ConfigError, match="nested"):
        there_and_back(endless)


@pytest.mark.parametrize(
    "told",
    [
        {"exec": "x"},
        {"npy": 1},
        {"array": [0, 5]},
        {"array": [-9, 2**70]},
        {"table": [0, 5]},
        {"a": 1, "b": 2},
        {"dict": [1]},
        {},
        {"__class__": []},
    ],
)
def test_a_form_that_is_none_is_refused(told):
    file, size = packed({"v": told}, b"nothing")

    with pytest.raises((ProtocolError, ConfigError)):
        restore(file, size)


def test_a_file_that_is_cut_off_is_refused():
    for content in (b"", b"12345678", struct.pack("<Q", 2**60)):
        with pytest.raises(ProtocolError):
            restore(io.BytesIO(content), len(content))


def test_a_pickle_in_an_array_is_not_read():
    file = io.BytesIO()
    numpy.save(file, numpy.array([Stranger()]), allow_pickle=True)
    data = file.getvalue()

    with pytest.raises(ProtocolError):
        restore(*packed({"v": {"array": [0, len(data)]}}, data))


def test_a_pickle_is_read_when_it_was_asked_for_alone():
    file = io.BytesIO()
    pack(file, {"v": range(3)}, False, pickled=True)

    with pytest.raises(ProtocolError):
        restore(file, file.tell())
    assert restore(file, file.seek(0, 2), pickled=True) == {"v": range(3)}


# -- with a session ---------------------------------------------------------------------------


@pytest.fixture
async def session(manager) -> AsyncIterator[ComputeSession]:
    async with Client(config_of(manager)) as client:
        yield await start_session(client, Request("python"), "carry")


async def does(session: ComputeSession, code: str) -> None:
    """Run code that must not fail."""
    async with session.run(code) as run:
        said = [str(event) async for event in run]
    assert "Error" not in "".join(said), said


def left_behind(manager) -> list[Path]:
    return [*manager.container("carry").spec.work.glob(".upload-*")]


async def test_variables_of_a_session_are_pulled(session):
    await does(session, "v = {'a': [1, (2, b'x')]}; f = open; big = 'x' * 8_000_000")
    told: list[tuple[int, int]] = []
    found = await pull(session, ["v", "big"], on_progress=lambda *each: told.append(each))

    assert found == {"v": {"a": [1, (2, b"x")]}, "big": "x" * 8_000_000}
    assert len(told) > 3 and told[0][0] == 0 and told[-1][0] == told[-1][1] > 8_000_000
    assert sorted(told) == told
    with pytest.raises(NotFound, match="no variable 'w'"):
        await pull(session, ["v", "w"])
    with pytest.raises(ConfigError, match="'f' cannot be brought back: it is a function"):
        await pull(session, ["v", "f"])
    await does(session, "import sys; assert not [n for n in sys.modules if '_backendai_' in n]")
    session.hello = {}
    with pytest.raises(ProtocolError, match="no IPython"):
        await pull(session, ["v"])


async def test_a_large_table_goes_there_and_comes_back(session, manager):
    frame = pandas.DataFrame(
        {
            "n": numpy.arange(300_000),
            "s": pandas.Series(["ü", None, "y"] * 100_000, dtype=object),
            "k": pandas.Categorical(["a", "b", "c"] * 100_000),
        }
    )
    told: list[tuple[int, int]] = []
    sent = await push(
        session, {"frame": frame, "small": 1}, on_progress=lambda *each: told.append(each)
    )
    await does(session, "assert (frame.n.sum(), small) == (299_999 * 150_000, 1)")
    await does(session, "frame.loc[1, 'n'] = -1; before = frame.shape")
    back = (await pull(session, ["frame"]))["frame"]
    frame.loc[1, "n"] = -1

    pandas.testing.assert_frame_equal(back, frame)
    assert sent > 3_000_000 and told[0] == (0, sent) and told[-1] == (sent, sent)
    assert left_behind(manager) == []


async def test_what_is_called_off_sets_nothing_and_leaves_nothing(session, manager):
    await does(session, "big = b'x' * 20_000_000")

    async def called_off(work, after: int) -> None:
        def stop(done: int, total: int) -> None:
            if done > after:
                task.cancel()

        task = asyncio.ensure_future(work(stop))
        with pytest.raises(asyncio.CancelledError):
            await task

    await called_off(lambda tell: pull(session, ["big"], on_progress=tell), 4_000_000)
    big = numpy.arange(2_000_000)
    await called_off(lambda tell: push(session, {"there": big}, on_progress=tell), 5_000_000)
    await does(session, "import sys; assert not [n for n in sys.modules if '_backendai_' in n]")
    await does(session, "assert 'there' not in globals()")

    assert left_behind(manager) == []


async def test_what_is_changed_on_its_way_is_not_taken(session, manager, monkeypatch):
    sent = calls.upload_files

    def spoilt(session_id, parts):
        parts = [calls.Part(each.name, b"?" + each.data[1:]) for each in parts]
        return sent(session_id, parts)

    monkeypatch.setattr(calls, "upload_files", spoilt)
    with pytest.raises(RunFailed, match="what came is not what was sent"):
        await push(session, {"there": bytes(1_000_000)})
    monkeypatch.setattr(values, "_write", lambda file, part, at: file.write(bytes(3 * 2**20)))
    await does(session, "assert 'there' not in globals(); big = bytes(range(256)) * 20_000")
    with pytest.raises(ProtocolError, match="did not arrive"):
        await pull(session, ["big"])

    assert left_behind(manager) == []


async def test_a_session_without_room_is_told(session, monkeypatch):
    monkeypatch.setattr(values, "_told", full(values._told))

    with pytest.raises(ConfigError, match="the session has room for 1000"):
        await push(session, {"there": bytes(1_000_000)})


def full(told):
    async def answer(session, code):
        return [
            {**each, **({"free": 1000} if "free" in each else {})}
            for each in await told(session, code)
        ]

    return answer


def test_both_sides_name_the_same_type():
    assert MIME == remote_values.MIME
