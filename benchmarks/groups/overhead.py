# SPDX-License-Identifier: Apache-2.0
"""What the smallest calls cost: Python, dispatch and autograd, with next to nothing to compute."""

from statistics import median

from harness.attention import Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import Contender, interleave

from groups.settings import Settings

_LENGTHS = (1, 4, 15)
# Microseconds beyond SDPA's call. A backward in Python costs more than one in C++: it is shown, and
# has no goal.
_GOALS = {"without gradients": 4.0, "with gradients": 6.0, "with gradients, and backward": None}


def _recording(contender_: Contender, tensors: Tensors, function) -> Contender:
    """A forward call on tensors that require gradients, without the backward."""
    contender_.call = lambda: function(*tensors.leaves)
    return contender_


def _pair(case: Case, kind: str) -> list[Contender]:
    from harness.attention import WAYS

    direction = "step" if kind.endswith("backward") else "forward"
    case = case.but(direction=direction)
    tensors = Tensors(case)
    pair = [contender(way, case, tensors, 1) for way in ("regard.attention", "PyTorch")]
    if kind == "with gradients":
        pair = [_recording(c, tensors, WAYS[c.name][0](case)) for c in pair]
    return pair


def overhead(settings: Settings) -> Group:
    rows = []
    for n in settings.pick((1, 15), _LENGTHS):
        for causal in (False, True):
            for kind, goal in _GOALS.items():
                case = Case(n, 64, causal)
                settings.say(f"{case}, {kind}")
                ours, theirs = interleave(
                    _pair(case, kind),
                    settings.pick(20, 60, 200),
                    settings.peak,
                    least_seconds=0.002,
                    peak_each=False,
                )
                extra = (
                    median(a - b for a, b in zip(ours.seconds, theirs.seconds, strict=True)) * 1e6
                )
                rows.append(
                    Row(
                        "overhead",
                        f"{case}, {kind}",
                        ours.time,
                        theirs.time,
                        "PyTorch SDPA",
                        goal=f"at most {goal:g} us more" if goal else "",
                        reached=f"{extra:+.1f} us",
                        met=extra <= goal if goal else None,
                        values={"n": n, "causal": causal, "kind": kind, "extra_us": extra},
                    )
                )
    return Group(
        "overhead", "float32, 8 heads, d=64, 1 thread: microseconds of a call beyond SDPA's", rows
    )
