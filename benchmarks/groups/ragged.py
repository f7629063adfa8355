# SPDX-License-Identifier: Apache-2.0
"""Lengths and head dims that no tile divides, against their round neighbours."""

from statistics import median

from harness.attention import Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import interleave

from groups.settings import Settings

_GOAL = 0.90

# (n, d) and its round neighbour: the nearest power of two for a length, the nearer of 64 and 128
# for a head dim
_NEIGHBOURS = [
    ((2047, 128), (2048, 128)),
    ((1000, 128), (1024, 128)),
    ((2048, 40), (2048, 64)),
    ((2048, 80), (2048, 64)),
    ((2048, 96), (2048, 128)),
    ((2048, 160), (2048, 128)),
    ((2048, 256), (2048, 128)),
]


def _row(case: Case, neighbour: Case, settings: Settings) -> Row:
    settings.say(f"{case.direction}, {case}, beside {neighbour}")
    threads = settings.threads
    tensors = Tensors(case)
    contenders = [
        contender("regard.attention", case, tensors, threads),
        contender("regard.attention", neighbour, Tensors(neighbour), threads),
        contender("PyTorch", case, tensors, threads),
    ]
    ours, round_one, theirs = interleave(contenders, settings.pick(3, 5, 15), settings.peak)
    relative = median(a / b for a, b in zip(ours.shares, round_one.shares, strict=True))
    return Row(
        "ragged",
        f"{case.direction} fp32, {case}, {threads} threads",
        ours.time,
        theirs.time,
        "PyTorch SDPA",
        ours.rate,
        ours.peak,
        ours.share,
        ours.disturbed,
        goal=f"{_GOAL:.0%} of the rate at n={neighbour.n} d={neighbour.d}",
        reached=f"{relative:.1%}",
        met=relative >= _GOAL,
        values={
            "n": case.n,
            "d": case.d,
            "direction": case.direction,
            "neighbour_share": round_one.share,
            "relative_rate": relative,
        },
    )


def ragged(settings: Settings) -> Group:
    rows = []
    for direction in ("forward", "backward"):
        for (n, d), (round_n, round_d) in settings.pick(_NEIGHBOURS[::3], _NEIGHBOURS):
            case = Case(n, d, direction=direction)
            rows.append(_row(case, case.but(n=round_n, d=round_d), settings))
    return Group(
        "ragged",
        "float32, 8 heads: rates (as shares of the peak) against a round neighbour's",
        rows,
    )
