# SPDX-License-Identifier: Apache-2.0
"""One measured case, and what it was meant to reach."""

from dataclasses import asdict, dataclass, field

# field of a Row in SI units, its name in JSON, and the factor to that name's unit
_UNITS = (
    ("ours", "ours_ms", 1e3),
    ("theirs", "theirs_ms", 1e3),
    ("rate", "gflops", 1e-9),
    ("peak", "peak_gflops", 1e-9),
)


@dataclass
class Row:
    group: str
    case: str
    ours: float | None = None  # seconds
    theirs: float | None = None  # seconds, in the same run
    against: str = ""  # what `theirs` is
    rate: float | None = None  # operations a second
    peak: float | None = None  # of the processor, beside it
    share: float | None = None
    disturbed: bool = False  # others took processors away while it was measured
    goal: str = ""  # in words; empty where there is none
    reached: str = ""  # the figure that the goal speaks of
    met: bool | None = None
    values: dict = field(default_factory=dict)  # whatever else the case has: parameters, samples

    @property
    def faster(self) -> float | None:
        return self.theirs / self.ours if self.ours and self.theirs else None

    def as_json(self) -> dict:
        row = asdict(self)
        for old, new, unit in _UNITS:
            value = row.pop(old)
            row[new] = None if value is None else value * unit
        row["times_faster"] = self.faster
        return row


@dataclass
class Group:
    """What a group hands back: rows, and lines of text to print below them."""

    name: str
    about: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    shown: list[Row] | None = (
        None  # the rows to print where there are too many; all of them by default
    )
