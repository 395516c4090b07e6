from __future__ import annotations

from decimal import Decimal

import pytest

from backendai_kernel.errors import ConfigError
from backendai_kernel.slots import (
    format_amount,
    format_size,
    format_slots,
    parse_size,
    parse_slots,
    parse_words,
    resolve,
    size_setting,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("1k", 1024),
        ("4g", 4 * GIB),
        ("4G", 4 * GIB),
        ("4gb", 4 * GIB),
        ("4 GiB", 4 * GIB),
        ("4gi", 4 * GIB),
        ("1.5g", 3 * GIB // 2),
        (".5g", GIB // 2),
        ("512m", GIB // 2),
        ("1t", 1024 * GIB),
        ("2p", 2 * 1024**2 * GIB),
        ("100b", 100),
        ("100 bytes", 100),
    ],
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "g", "4x", "-4g", "4g4", "1e3", "four", "4..5g", "NaN"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(text)


def test_a_size_without_a_unit_takes_the_default():
    assert parse_size("4", default_unit="m") == 4 * 2**20
    assert parse_size("4g", default_unit="m") == 4 * GIB


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (17, "17"),
        (1024, "1k"),
        (1000, "1000"),
        (GIB, "1g"),
        (3 * GIB // 2, "1.5g"),
        (320 * 2**20, "320m"),
        (1024 * GIB, "1t"),
        (1023 * 2**20, "1023m"),
    ],
)
def test_a_size_is_written_as_people_write_it(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize("size", [1, 999, 1024, 1536, 10**9, 7 * GIB + 1, GIB // 10])
def test_a_size_comes_back_from_its_text(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1.0", "1"), ("0.50", "0.5"), ("1E+2", "100"), ("10", "10"), ("0", "0"), ("0.1", "0.1")],
)
def test_an_amount_is_written_plainly(amount, text):
    assert format_amount(Decimal(amount)) == text


def test_slots_are_written_in_one_line_processors_and_memory_first():
    slots = {"cuda.shares": Decimal("0.5"), "mem": Decimal(4 * GIB), "cpu": Decimal(2)}

    assert format_slots(slots) == "cpu=2 mem=4g cuda.shares=0.5"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], {}),
        (["cpu=2"], {"cpu": 2}),
        (["mem=4g"], {"mem": 4 * GIB}),
        (["mem=4"], {"mem": 4 * 2**20}),  # as the official client reads it
        (["memory=4g", "cores=2"], {"mem": 4 * GIB, "cpu": 2}),
        (["GPU=0.5"], {"gpu": Decimal("0.5")}),
        ([" cpu = 2 "], {"cpu": 2}),
        (["cpu=1", "cpu=2"], {"cpu": 2}),
        (["cuda.shares=0.5"], {"cuda.shares": Decimal("0.5")}),
    ],
)
def test_resource_words_are_read(words, wanted):
    assert parse_words(words) == wanted


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("gpu", "'gpu' is not a resource."),
        ("=4", "'=4' is not a resource."),
        ("gpu=", "'gpu=' is not a resource."),
        ("gpu=half", "The amount in 'gpu=half' is not a number."),
        ("mem=4x", "'4x' is not a size."),
        ("cpu=0", "'cpu=0' asks for nothing: the amount must be above zero."),
        ("cpu=-1", "'cpu=-1' asks for nothing: the amount must be above zero."),
        ("mem=0", "'mem=0' asks for nothing: the amount must be above zero."),
        ("cpu=NaN", "'cpu=NaN' asks for nothing: the amount must be above zero."),
        ("cpu=Infinity", "'cpu=Infinity' asks for nothing: the amount must be above zero."),
    ],
)
def test_a_malformed_word_is_refused(word, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_words(["cpu=1", word])

    assert caught.value.message == sentence


def test_slots_of_a_server_keep_no_limit_and_hidden():
    slots = parse_slots({"cpu": "2", "mem": "Infinity", "cuda.shares": "NaN", "tpu": None})

    assert slots["cpu"] == 2
    assert slots["mem"].is_infinite()
    assert slots["cuda.shares"].is_nan()
    assert "tpu" not in slots


FRACTIONS = ["cpu", "mem", "cuda.shares"]
DEVICES = ["cpu", "mem", "cuda.device"]
BOTH = ["cpu", "mem", "cuda.device", "cuda.shares"]
ROCM = ["cpu", "mem", "rocm.device"]
SEVERAL = ["cpu", "mem", "rocm.device", "cuda.shares"]


@pytest.mark.parametrize(
    ("word", "known", "slot"),
    [
        ("gpu=0.5", FRACTIONS, "cuda.shares"),
        ("gpu=1", FRACTIONS, "cuda.shares"),
        ("gpu=1", DEVICES, "cuda.device"),
        ("gpu=1", BOTH, "cuda.device"),
        ("gpu=0.5", BOTH, "cuda.shares"),
        ("gpu=1", ROCM, "rocm.device"),
        ("gpu=0.5", SEVERAL, "cuda.shares"),
        ("rocm=1", SEVERAL, "rocm.device"),
        ("cuda=0.5", FRACTIONS, "cuda.shares"),
        ("cuda.shares=0.5", FRACTIONS, "cuda.shares"),
        ("cpu=2", FRACTIONS, "cpu"),
    ],
)
def test_a_resource_becomes_the_slot_that_the_server_has(word, known, slot):
    wanted = parse_words([word])

    assert resolve(wanted, known) == {slot: next(iter(wanted.values()))}


@pytest.mark.parametrize(
    ("word", "known", "sentence"),
    [
        ("gpu=0.5", ["cpu", "mem"], "This server has no GPU, so gpu=0.5 cannot be had."),
        (
            "gpu=0.5",
            DEVICES,
            "This server gives whole devices only (cuda.device), so gpu=0.5 cannot be had.",
        ),
        ("tpu=1", FRACTIONS, "This server has no resource named 'tpu'."),
        ("cuda.device=1", FRACTIONS, "This server has no resource named 'cuda.device'."),
    ],
)
def test_a_slot_that_the_server_does_not_have_is_refused(word, known, sentence):
    with pytest.raises(ConfigError) as caught:
        resolve(parse_words([word]), known)

    assert caught.value.message == sentence
    assert caught.value.hint


def test_two_words_for_one_slot_are_refused():
    with pytest.raises(ConfigError, match=r"cuda\.shares"):
        resolve(parse_words(["gpu=0.5", "cuda.shares=1"]), FRACTIONS)


@pytest.mark.parametrize(
    ("value", "size"), [(None, 2 * 2**20), ("", 2 * 2**20), (" 3k ", 3072), ("0", 0), ("7", 7)]
)
def test_a_size_of_the_environment(value, size):
    environ = {} if value is None else {"ROOM": value}

    assert size_setting(environ, "ROOM", "2m", "1m or 1g") == size


def test_a_size_of_the_environment_that_is_none():
    with pytest.raises(ConfigError) as caught:
        size_setting({"ROOM": "much"}, "ROOM", "2m", "1m or 1g")

    assert caught.value.message == "ROOM is 'much', which is no size."
    assert caught.value.hint == "Write it as 1m or 1g; 0 for none."
