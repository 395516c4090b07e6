"""Variables brought back from a session: every form there and back, and nothing unpickled."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy
import pandas
import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import ConfigError, NotFound, ProtocolError
from backendai_kernel.protocol import remote_values
from backendai_kernel.start import Request, start_session
from backendai_kernel.values import MIME, pull, restore

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
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_as_they_were(value):
    back = restore(remote_values.form(value))

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_special_floats(value):
    assert repr(restore(remote_values.form(value))) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        numpy.arange(12, dtype="int16").reshape(3, 4),
        numpy.array(["a", "bc"]),
        numpy.array([], dtype="float32"),
        numpy.array([True, False]),
        numpy.array(["2026-01-02", "NaT"], dtype="datetime64[D]"),
        numpy.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=lambda value: str(value.dtype),
)
def test_arrays(value):
    back = restore(remote_values.form(value))

    assert back.dtype == value.dtype
    numpy.testing.assert_array_equal(back, value)


def test_scalars_of_numpy():
    back = restore(remote_values.form(numpy.float32(1.5)))

    assert (type(back), back) == (numpy.float32, 1.5)


FRAMES = [
    pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, math.nan]}),
    pandas.DataFrame({"t": pandas.to_datetime(["2026-01-02", None])}, index=["r1", "r2"]),
    pandas.DataFrame({"z": pandas.to_datetime(["2026-01-02"]).tz_localize("Asia/Seoul")}),
    pandas.DataFrame({"k": pandas.Categorical(["a", "b", "a"])}),
    pandas.DataFrame({"n": pandas.array([1, None], dtype="Int64")}),
    pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
    pandas.DataFrame({"v": [1, 2]}, index=pandas.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    pandas.DataFrame({"dup": [1, 2]})
    .join(pandas.DataFrame({"x": [3, 4]}))
    .set_axis(["d", "d"], axis=1),
    pandas.DataFrame(index=[1, 2, 3]),
    pandas.DataFrame({"m": [[1, 2], {"k": 1}]}),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(list(frame.columns))[:30])
def test_tables(frame):
    pandas.testing.assert_frame_equal(restore(remote_values.form(frame)), frame)


def test_series_and_timestamps():
    series = pandas.Series([1.5, 2], index=["a", "b"], name="s")

    pandas.testing.assert_series_equal(restore(remote_values.form(series)), series)
    stamp = pandas.Timestamp("2026-01-02 03:04", tz="UTC")
    assert restore(remote_values.form(stamp)) == stamp
    assert restore(remote_values.form(pandas.NaT)) is pandas.NaT


class Stranger:
    pass


@pytest.mark.parametrize(
    "value",
    [Stranger(), [open], numpy.array([object()]), {"k": Stranger()}, type("L", (list,), {})()],
)
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(remote_values.NotPlain):
        remote_values.form(value)


@pytest.mark.parametrize(
    "told", [{"exec": "x"}, {"npy": 1}, {"array": "bm8="}, {"a": 1, "b": 2}, {"dict": [1]}, {}]
)
def test_a_form_that_is_none_is_refused(told):
    with pytest.raises((KeyError, ValueError, TypeError, AttributeError)):
        restore(told)


def test_a_pickle_in_an_array_is_not_read():
    import base64
    import io

    file = io.BytesIO()
    numpy.save(file, numpy.array([Stranger()]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        restore({"array": base64.b64encode(file.getvalue()).decode()})


async def test_a_variable_of_a_session_is_pulled(manager):
    config = Config(
        endpoint=manager.url, access_key=manager.access_key, secret_key=manager.secret_key
    )
    async with Client(config) as client:
        session = await start_session(client, Request("python"), "pull")
        async with session.run("v = {'a': [1, (2, b'x')]}; f = open; big = 'x' * 3_000_000") as run:
            async for _ in run:
                pass

        assert await pull(session, "v") == {"a": [1, (2, b"x")]}
        assert len(await pull(session, "big")) == 3_000_000
        with pytest.raises(NotFound, match="no variable 'w'"):
            await pull(session, "w")
        with pytest.raises(ConfigError, match="it is a function"):
            await pull(session, "f")
        session.hello = {}
        with pytest.raises(ProtocolError, match="no IPython"):
            await pull(session, "v")


def test_both_sides_name_the_same_type():
    assert MIME == remote_values.MIME
