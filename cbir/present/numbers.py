"""Numbers in words and units for people: sizes, durations, counts, percentages, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_SIZE_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def human_size(size: int) -> str:
    """Bytes in powers of 1000: `0 B`, `999 B`, `1.5 kB`, `17 MB`."""
    if abs(size) < 1000:
        return f"{size} B"
    power = 1
    while abs(size) >= 999.5 * 1000**power and power < len(_SIZE_UNITS):
        power += 1
    value = size / 1000**power
    unit = _SIZE_UNITS[power - 1]
    return f"{value:.1f} {unit}" if abs(value) < 9.95 else f"{value:,.0f} {unit}"


def human_duration(seconds: float) -> str:
    """Seconds for people: `12.3 ms`, `1.2 s`, `45 s`, `2 min 5 s`, `3 h 10 min`, `2 d 3 h`."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.{1 if seconds < 0.09995 else 0}f} ms"
    if seconds < 59.5:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f} s"
    whole = round(seconds)
    if whole < 3600:
        return _two_parts(whole, (60, "min"), (1, "s"))
    whole = round(seconds / 60) * 60
    if whole < 86400:
        return _two_parts(whole, (3600, "h"), (60, "min"))
    return _two_parts(round(seconds / 3600) * 3600, (86400, "d"), (3600, "h"))


def _two_parts(whole: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    first, rest = divmod(whole, large[0])
    second = rest // small[0]
    return f"{first} {large[1]}" + (f" {second} {small[1]}" if second else "")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `12,345 images`; `plural` where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def counts(numbers: Mapping[str, int]) -> str:
    """`3 images, 1 failure` from singular nouns and their numbers; zeros are left out.

    "nothing" where all are zero.
    """
    return ", ".join(count(n, noun) for noun, n in numbers.items() if n) or "nothing"


def percent(probability: float) -> str:
    """A probability as whole percent; only an exact 1 is 100% and only an exact 0 is 0%."""
    if not math.isfinite(probability):
        return "-"
    whole = round(100 * probability)
    if 0 < probability < 1:
        whole = min(99, max(1, whole))
    return f"{whole}%"


def score_text(score: float) -> str:
    """A score with three decimals; never `-0.000`."""
    if not math.isfinite(score):
        return "-"
    return f"{round(float(score), 3) + 0.0:.3f}"


def number(value: float) -> str:
    """A metric with three decimals, without the leading zero: ".771"; "-" where there is none."""
    if not math.isfinite(value):
        return "-"
    return re.sub(r"^(-?)0(?=\.)", r"\1", f"{round(value, 3) + 0.0:.3f}")


def signed(value: float, minus: str = "-") -> str:
    """A difference with its sign: "+.120", "-.034"; ".000" where nothing is left of it."""
    text = number(value)
    if text in ("-", ".000"):
        return text
    return minus + text[1:] if text[0] == "-" else f"+{text}"


def between(interval: tuple[float, float]) -> str:
    """An interval in words: ".727 to .815"."""
    return f"{number(interval[0])} to {number(interval[1])}"
