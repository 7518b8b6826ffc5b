"""Numbers as a reader expects them."""

from __future__ import annotations

import math

from napari_marrow.report.figures.comparisons import endpoint_words, p_digits, p_words

__all__ = ["count", "endpoint_words", "joined", "number", "p_digits", "p_words", "percent", "plural"]


def number(value: float, digits: int = 3) -> str:
    """Return a number to so many significant digits, without exponent for usual sizes, "n/a" for NaN."""
    if value is None or not math.isfinite(value):
        return "n/a" if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    text = f"{value:,.{max(0, digits - 1 - size)}f}" if size < digits - 1 else f"{value:,.0f}"
    return text.replace(",", "\u202f").replace("-", "−")


def count(value: int) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{int(value):,}".replace(",", "\u202f")


def plural(value: int, noun: str, many: str | None = None) -> str:
    """Return "1 colony", "3 colonies"."""
    return f"{count(value)} {noun if value == 1 else (many or noun + 's')}"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage."""
    if not math.isfinite(fraction):
        return "n/a"
    value = 100 * fraction
    return f"{value:.0f}\u00a0%" if value >= 9.95 or value == 0 else f"{value:.1f}\u00a0%"


def joined(words: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
