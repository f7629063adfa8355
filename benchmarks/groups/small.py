# SPDX-License-Identifier: Apache-2.0
"""Short sequences: n from 16 to 512, batch 1 to 64, d 32 to 128, against the fastest of
everything that PyTorch has.

The whole grid is 2,592 cases. A default run draws some from every combination of dtype,
direction, n and mask, so that every
batch, head dim and way in appears with each, and stops when its time is up; --full measures all.
"""

import itertools
import math
import random
import time
from statistics import median

from harness.attention import DIRECTIONS, Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import calls_for, interleave, ratios

from groups.settings import Settings

_LENGTHS = (16, 32, 64, 128, 256, 512)
_BATCHES = (1, 4, 16, 64)
_DIMS = (32, 64, 128)
_DTYPES = ("fp32", "bf16", "fp16")
_OURS = ("regard.attention", "regard.enable()")
_RIVALS = ("PyTorch fused", "PyTorch math", "softmax(q @ k.T) @ v")

_PAIRS = 30
# seconds; a sample of a short call is repeated to last so long: one call alone is mostly what woke
# it
_SHORT_SAMPLE = 0.002


def goal_of(case: Case) -> float:
    """How many times as fast as the fastest rival: never slower; from n=256 up 1.5 times, in
    bf16 1.2."""
    if case.n < 256:
        return 1.0
    return 1.2 if case.dtype == "bf16" else 1.5


def grid() -> list[tuple[Case, str]]:
    return [
        (Case(n, d, causal, direction, dtype, batch), way)
        for dtype, direction, n, causal in itertools.product(
            _DTYPES, DIRECTIONS, _LENGTHS, (False, True)
        )
        for batch, d, way in itertools.product(_BATCHES, _DIMS, _OURS)
    ]


def sample(per_combination: int, most_flops: float) -> list[tuple[Case, str]]:
    """So many cases of each (dtype, direction, n, mask), the same on every run; none dearer than
    `most_flops`, so that no
    combination takes all the time."""
    chosen = []
    whole = grid()
    size = len(_BATCHES) * len(_DIMS) * len(_OURS)
    for number, start in enumerate(range(0, len(whole), size)):
        affordable = [c for c in whole[start : start + size] if c[0].flops <= most_flops] or whole[
            start : start + 1
        ]
        # A stride that shares no factor with most sizes walks through batches, dims and ways in
        # turn.
        for pick in range(per_combination):
            chosen.append(affordable[(5 * number + 7 * pick * (number % 3 + 1)) % len(affordable)])
    return list(dict.fromkeys(chosen))


def _fastest(case: Case, tensors: Tensors, settings: Settings) -> str:
    """The rival to meet: each is timed a few times, and dropped when it is far behind the best."""
    best = {}
    for way in _RIVALS:
        rival = contender(way, case, tensors, settings.threads)
        calls_for(rival, 1.0)  # warms it up; one call is enough where a call lasts
        (timing,) = interleave(
            [rival], 1, settings.peak, least_seconds=_SHORT_SAMPLE, peak_each=False, warm=False
        )
        best[way] = timing.time
    near = [way for way, seconds in best.items() if seconds <= 1.5 * min(best.values())]
    if len(near) == 1:
        return near[0]
    timings = interleave(
        [contender(way, case, tensors, settings.threads) for way in near],
        5,
        settings.peak,
        least_seconds=_SHORT_SAMPLE,
        peak_each=False,
    )
    return min(timings, key=lambda t: t.time).contender.name


def _row(case: Case, way: str, seconds: float, settings: Settings) -> Row:
    tensors = Tensors(case)
    rival = _fastest(case, tensors, settings)
    pair = [contender(w, case, tensors, settings.threads) for w in (way, rival)]
    start = time.perf_counter()
    interleave(pair, 1, settings.peak, least_seconds=_SHORT_SAMPLE, peak_each=False)
    pairs = max(5, min(_PAIRS, int(seconds / (time.perf_counter() - start))))
    ours, theirs = interleave(
        pair, pairs, settings.peak, least_seconds=_SHORT_SAMPLE, peak_each=False
    )
    times = median(ratios(theirs, ours))
    goal = goal_of(case)
    return Row(
        "small",
        f"{case.direction} {case.dtype}, {case}, {way}",
        ours.time,
        theirs.time,
        rival,
        ours.rate,
        ours.peak,
        ours.share,
        goal=f"{goal:g}x",
        reached=f"{times:.2f}x",
        met=times >= goal,
        values={
            "n": case.n,
            "d": case.d,
            "batch": case.batch,
            "causal": case.causal,
            "dtype": case.dtype,
            "direction": case.direction,
            "way": way,
            "pairs": pairs,
            "ratio": times,
            "threads": settings.threads,
        },
    )


def _summary(rows: list[Row]) -> list[Row]:
    """A line for each dtype, direction and range of n, since nobody reads hundreds."""
    lines = []
    for dtype, direction in itertools.product(_DTYPES, DIRECTIONS):
        for low, high in ((16, 128), (256, 512)):
            part = [
                r
                for r in rows
                if r.values["dtype"] == dtype
                and r.values["direction"] == direction
                and low <= r.values["n"] <= high
            ]
            if not part:
                continue
            found = sorted(r.values["ratio"] for r in part)
            met = sum(r.met for r in part)
            lines.append(
                Row(
                    "small",
                    f"{direction} {dtype}, n {low} to {high}: {_count(part)}",
                    goal=f"each {part[0].goal}",
                    reached=f"median {median(found):.2f}x, least {found[0]:.2f}x,"
                    f" {met} of {len(part)} met",
                    met=met == len(part),
                )
            )
    return lines


def small(settings: Settings) -> Group:
    if settings.level == "full":
        cases, seconds = grid(), 30.0
    else:
        cases, seconds = (
            sample(settings.pick(1, 2), settings.pick(0.3e9, 2e9)),
            settings.pick(0.4, 1.5),
        )
        if settings.level == "quick":
            cases = cases[::5]  # no factor of the 12 combinations of length and mask
    random.Random(0).shuffle(cases)  # a run that ends early has seen some of everything
    rows, end = [], time.perf_counter() + settings.pick(60.0, 420.0, math.inf)
    for number, (case, way) in enumerate(cases):
        if time.perf_counter() > end:
            break
        settings.say(
            f"case {number + 1} of {len(cases)}: {case.direction} {case.dtype}, {case}, {way}"
        )
        rows.append(_row(case, way, seconds, settings))

    slower = sorted((r for r in rows if r.values["ratio"] < 1), key=lambda r: r.values["ratio"])
    short = sorted(
        (r for r in rows if r.values["ratio"] >= 1 and not r.met), key=lambda r: r.values["ratio"]
    )
    notes = [
        f"{len(rows)} of the grid's {len(grid())} cases, {settings.threads} threads; ratio: median"
        f" over up to {_PAIRS} interleaved pairs."
    ]
    notes.append("Slower than the fastest rival: " + _count(slower))
    notes += [_line(r) for r in slower]
    notes.append("Faster, but short of the goal: " + _count(short))
    notes += [_line(r) for r in short]
    return Group(
        "small",
        "8 heads; against the fastest of PyTorch's fused kernel, its math backend and plain"
        " softmax(q @ k.T) @ v",
        rows,
        notes,
        _summary(rows),
    )


def _count(rows: list[Row]) -> str:
    return {0: "none", 1: "1 case"}.get(len(rows), f"{len(rows)} cases")


def _line(row: Row) -> str:
    return (
        f"  {row.reached} of {row.goal}: {row.case}: {row.ours * 1e3:.3f} ms against"
        f" {row.theirs * 1e3:.3f} ms ({row.against})"
    )
