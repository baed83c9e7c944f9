"""The result of a sound track: where its samples lie, and what the clock did to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Extent:
    """Samples that lie one after another in the file and on the clock."""

    start: int
    """Output sample on the recording's clock."""
    samples: int


@dataclass(slots=True)
class Moves:
    """What the clock did to a stream, for the report; units are seconds."""

    corrections: int = 0
    corrected: Fraction = Fraction(0)
    largest_correction: Fraction = Fraction(0)
    holes: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    """(start, length), the first hundred."""
    hole_count: int = 0
    hole_total: Fraction = Fraction(0)
    restarts: list[Fraction] = field(default_factory=list)

    def hole(self, start: Fraction, length: Fraction) -> None:
        """Count a stretch without sound."""
        self.hole_count += 1
        self.hole_total += length
        if len(self.holes) < 100:
            self.holes.append((start, length))
