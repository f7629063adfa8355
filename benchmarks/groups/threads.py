# SPDX-License-Identifier: Apache-2.0
"""Two threads against one: as a share of what the peak itself gains from the second thread."""

from statistics import median

from harness.attention import Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import interleave

from groups.settings import Settings

_GOAL = 0.95


def _row(case: Case, settings: Settings) -> Row:
    settings.say(f"{case.direction}, {case}, 1 and 2 threads")
    tensors = Tensors(case)
    contenders = [contender("regard.attention", case, tensors, threads) for threads in (1, 2)]
    contenders[0].wall = True
    contenders.append(contender("PyTorch", case, tensors, 2))
    one, two, theirs = interleave(contenders, settings.pick(1, 3, 7), settings.peak)
    # (time of one / time of two) / (peak of two / peak of one), round by round
    scaling = median(b / a for a, b in zip(one.shares, two.shares, strict=True))
    return Row(
        "threads",
        f"{case.direction} fp32, {case}, 2 threads",
        two.time,
        theirs.time,
        "PyTorch SDPA",
        two.rate,
        two.peak,
        two.share,
        two.disturbed,
        goal=f"{_GOAL} of the peak's scaling",
        reached=f"{scaling:.3f}",
        met=scaling >= _GOAL,
        values={
            "n": case.n,
            "d": case.d,
            "heads": case.heads,
            "direction": case.direction,
            "one_thread_ms": one.time * 1e3,
            "speedup": one.time / two.time,
            "peak_speedup": two.peak / one.peak,
            "scaling": scaling,
        },
    )


def threads(settings: Settings) -> Group:
    n = settings.pick(4096, 8192)
    causals = settings.pick((False,), (False,), (False, True))
    rows = [
        _row(Case(n, 64, causal, direction, heads=heads), settings)
        for causal in causals
        for direction in ("forward", "backward")
        for heads in (8, 1)
    ]
    notes = (
        []
        if settings.threads >= 2
        else ["This machine gives PyTorch one thread: two of them share a core here."]
    )
    return Group(
        "threads",
        f"float32, n={n}: time with 1 thread / time with 2, over the same of the peak",
        rows,
        notes,
    )
