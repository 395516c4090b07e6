from __future__ import annotations

from pathlib import Path

import pytest

from backendai_kernel.ratelimit import RateLimit


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def headers(limit: int, remaining: int, **more: str) -> dict[str, str]:
    return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(remaining), **more}


def test_nothing_is_known_at_first(clock):
    rate = RateLimit(clock=clock)

    assert (rate.limit, rate.remaining) == (None, None)
    assert (rate.blocked_for(), rate.gap()) == (0, 0)


def test_the_headers_are_read(clock):
    rate = RateLimit(clock=clock)
    rate.observe(headers(1000, 998))
    rate.observe({"X-RateLimit-Limit": "many", "X-RateLimit-Remaining": "some"})

    assert (rate.limit, rate.remaining) == (1000, 998)


# -- polls are spread out ---------------------------------------------------------------------


def test_polls_go_without_a_pause_while_there_is_plenty(clock):
    rate = RateLimit(clock=clock)
    rate.observe(headers(1000, 201))

    assert rate.gap() == 0


def test_polls_are_spread_over_the_window_when_little_is_left(clock):
    rate = RateLimit(clock=clock)
    rate.observe(headers(1000, 180, **{"X-RateLimit-Window": "900"}))

    assert rate.gap() == pytest.approx(5.0)


@pytest.mark.parametrize("reset", ["90", "1800000090"])  # seconds from now, or a moment
def test_a_window_that_ends_soon_needs_shorter_pauses(clock, reset):
    rate = RateLimit(clock=clock)
    rate.observe(headers(1000, 90, **{"X-RateLimit-Reset": reset}))
    first = rate.gap()
    clock.now += 45

    assert first == pytest.approx(1.0)
    assert rate.gap() == pytest.approx(0.5)


def test_a_pause_is_never_so_long_that_a_cell_seems_dead(clock):
    rate = RateLimit(clock=clock)
    rate.observe(headers(1000, 0))

    assert rate.gap() == 10


# -- refusals ---------------------------------------------------------------------------------


def test_a_refusal_that_says_how_long_is_believed(clock):
    rate = RateLimit(clock=clock)
    wait = rate.refused(7.0)

    assert 7.0 <= wait <= 7.7
    assert rate.blocked_for() == pytest.approx(wait)
    clock.now += wait
    assert rate.blocked_for() == 0


def test_a_refusal_in_a_known_window_waits_for_its_end(clock):
    rate = RateLimit(clock=clock)
    rate.observe({"X-RateLimit-Reset": "20"})

    assert 20 <= rate.refused(None) <= 22


def test_refusals_without_a_word_wait_longer_each_time_up_to_a_minute(clock):
    rate = RateLimit(clock=clock)
    waits = [rate.refused(None) for _ in range(6)]

    for wait, least in zip(waits, [5, 10, 20, 40, 60, 60], strict=True):
        assert least <= wait <= least * 1.1


def test_an_accepted_request_begins_the_pauses_anew(clock):
    rate = RateLimit(clock=clock)
    rate.refused(None)
    rate.refused(None)
    rate.accepted()

    assert rate.refused(None) <= 5.5


def test_a_refusal_of_an_hour_is_asked_again_after_a_minute(clock):
    rate = RateLimit(clock=clock)

    assert rate.refused(3600) <= 66


# -- other processes --------------------------------------------------------------------------


def test_a_refusal_is_told_to_the_others(clock, tmp_path: Path):
    shared = tmp_path / "rate" / "key"
    mine, theirs = RateLimit(shared, clock=clock), RateLimit(shared, clock=clock)
    mine.refused(10.0)

    assert theirs.blocked_for() == pytest.approx(mine.blocked_for(), abs=0.01)
    clock.now += 11
    assert theirs.blocked_for() == 0


def test_a_shorter_refusal_does_not_shorten_that_of_another(clock, tmp_path: Path):
    shared = tmp_path / "key"
    mine, theirs = RateLimit(shared, clock=clock), RateLimit(shared, clock=clock)
    theirs.refused(50.0)
    mine.refused(1.0)
    third = RateLimit(shared, clock=clock)

    assert third.blocked_for() >= 50


def test_a_file_that_is_not_ours_is_no_refusal(clock, tmp_path: Path):
    (tmp_path / "key").write_text("soon")

    assert RateLimit(tmp_path / "key", clock=clock).blocked_for() == 0


def test_a_moment_far_ahead_is_not_waited_for(clock, tmp_path: Path):
    shared = tmp_path / "key"
    RateLimit(shared, clock=clock).refused(60.0)
    clock.now -= 86_400  # the clock was set

    assert RateLimit(shared, clock=clock).blocked_for() <= 66


def test_the_shared_file_is_the_owners_own(clock, tmp_path: Path):
    RateLimit(tmp_path / "rate" / "key", clock=clock).refused(1.0)

    assert (tmp_path / "rate" / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "rate").iterdir()] == ["key"]
