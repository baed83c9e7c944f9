from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas import clock


def test_decimal_seconds_are_taken_as_written() -> None:
    assert clock.us_from_seconds(0.29) == 290_000
    assert clock.us_from_seconds("00033.25") == 33_250_000
    assert clock.us_from_seconds(Fraction(1001, 30000)) == 33_367


@given(st.integers(0, 10**12))
def test_halves_go_up_as_decimal_arithmetic_does(tenths: int) -> None:
    value = Decimal(tenths) / 10
    assert clock.round_half_up(Fraction(tenths, 10)) == int(value.to_integral_value(ROUND_HALF_UP))


def test_a_negative_half_goes_up() -> None:
    assert clock.round_half_up(Fraction(-1, 2)) == 0
    assert clock.round_half_up(Fraction(-3, 2)) == -1


@given(st.integers(0, 10**11), st.sampled_from([16000, 24000]))
def test_sample_at_is_the_first_sample_not_before(time_us: int, rate_hz: int) -> None:
    sample = clock.sample_at(time_us, rate_hz)
    assert Fraction(sample, rate_hz) >= Fraction(time_us, clock.US)
    assert Fraction(sample - 1, rate_hz) < Fraction(time_us, clock.US)


@given(st.integers(0, 10**10))
def test_windows_tile_the_samples(window: int) -> None:
    start = clock.sample_at(window * clock.WINDOW_US, 16000)
    assert start == 3200 * window
    assert clock.samples_per_window(16000) == 3200
    assert clock.window_at(clock.us_of_sample(start, 16000)) == window
