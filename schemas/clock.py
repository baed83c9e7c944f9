"""The one clock: integer microseconds, exact fractions until a single rounding.

window k   [k * 200 ms, (k+1) * 200 ms)   samples [3200 k, 3200 (k+1)) at 16 kHz
frame f    25 ms of window k              samples [3200 k + 400 f, 3200 k + 400 (f+1))
"""

from __future__ import annotations

from fractions import Fraction

US = 1_000_000
WINDOW_US = 200_000
FRAME_US = 25_000
FRAMES_PER_WINDOW = WINDOW_US // FRAME_US


def round_half_up(value: Fraction) -> int:
    """The nearest integer; a half goes up, for negative values too."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def us_from_seconds(seconds: Fraction | int | str | float) -> int:
    """Microseconds of an exact number of seconds, rounded half up.

    A string or float counts as the decimal it shows: 0.29 is 290000, never 289999.
    """
    exact = seconds if isinstance(seconds, (Fraction, int)) else Fraction(str(seconds))
    return round_half_up(Fraction(exact) * US)


def sample_at(time_us: int, rate_hz: int) -> int:
    """The first sample at or after `time_us`."""
    return -(-time_us * rate_hz // US)


def us_of_sample(sample: int, rate_hz: int) -> int:
    """The time of a sample, rounded half up."""
    return round_half_up(Fraction(sample * US, rate_hz))


def samples_per_window(rate_hz: int) -> int:
    return rate_hz * WINDOW_US // US


def window_at(time_us: int) -> int:
    """The window that covers `time_us`."""
    return time_us // WINDOW_US


def whole_windows(duration_us: int) -> int:
    """How many complete windows fit before `duration_us`."""
    return duration_us // WINDOW_US
