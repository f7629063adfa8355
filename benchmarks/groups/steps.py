# SPDX-License-Identifier: Apache-2.0
"""Steps of an RNN decoder: one query of each sequence looks at the encoder's keys with an
additive score, step after step."""

import math
from statistics import median
from types import SimpleNamespace

import regard
import torch
from harness.allocator import freed_memory_is_kept
from harness.rows import Group, Row
from harness.timing import Contender, interleave, ratios
from mechanisms.rivals import RIVALS

from groups.settings import Settings

_BATCH, _DIM = 64, 256
_GOAL = 3.0
_AGREE = 1e-4  # largest difference of the two sides, as a share of the largest element


class _Step:
    """One step: the encoder's keys and values, a query of each sequence."""

    def __init__(self, keys: int):
        torch.manual_seed(0)
        shapes = {
            "q": (_BATCH, 1, 1, _DIM),
            "k": (_BATCH, 1, keys, _DIM),
            "v": (_BATCH, 1, keys, _DIM),
            "w": (_DIM,),
        }
        x = {name: torch.randn(shape) for name, shape in shapes.items()}
        x["w"] /= math.sqrt(_DIM)
        self.plain = SimpleNamespace(**x)
        self.leaves = SimpleNamespace(**{name: t.clone().requires_grad_() for name, t in x.items()})
        self.exponentials = regard.prepare_keys(x["k"]).exponentials
        self.d_out = torch.randn_like(x["q"])
        self._theirs = RIVALS["additive"].make(self.plain)

    def call(self, whose: str, x: SimpleNamespace) -> torch.Tensor:
        if whose == "PyTorch":
            return self._theirs(x)
        key = regard.PreparedKeys(x.k, self.exponentials) if whose == "prepared" else x.k
        return regard.attention(x.q, key, x.v, score=regard.additive(x.w))

    def run(self, whose: str, direction: str):
        if direction == "forward":
            with torch.no_grad():
                return (self.call(whose, self.plain),)
        return torch.autograd.grad(
            self.call(whose, self.leaves), list(vars(self.leaves).values()), self.d_out
        )


def _check(step: _Step, direction: str) -> None:
    expected = step.run("PyTorch", direction)
    for whose in ("keys", "prepared"):
        for a, b in zip(step.run(whose, direction), expected, strict=True):
            share = ((a - b).abs().max() / b.abs().max()).item()
            if not share <= _AGREE:
                raise AssertionError(
                    f"a decoder's step, {direction}, {whose}: differs from PyTorch by {share:.1e}"
                )


def _rows(keys: int, settings: Settings) -> list[Row]:
    step, rows = _Step(keys), []
    for direction, words in (("forward", "forward"), ("step", "forward and backward")):
        settings.say(f"{keys} keys, {words}")
        _check(step, direction)
        names = ("keys", "prepared", "PyTorch")
        contenders = [
            Contender(
                name,
                lambda name=name, direction=direction: step.run(name, direction),
                settings.threads,
            )
            for name in names
        ]
        *ours, theirs = interleave(
            contenders,
            settings.pick(9, 21, 41),
            settings.peak,
            most_seconds=settings.pick(2, 8, 20),
            peak_each=False,
        )
        for timing in ours:
            times = median(ratios(theirs, timing))
            prepared = ", prepared" if timing.contender.name == "prepared" else ""
            rows.append(
                Row(
                    "steps",
                    f"{words}, {keys} keys{prepared}",
                    timing.time,
                    theirs.time,
                    "tanh(q[:, None] + k) @ w",
                    disturbed=timing.disturbed,
                    goal=f"{_GOAL:g}x PyTorch",
                    reached=f"{times:.1f}x",
                    met=times >= _GOAL,
                    values={"keys": keys, "direction": direction, "ratio": times},
                )
            )
    return rows


def steps(settings: Settings) -> Group:
    with freed_memory_is_kept():
        rows = [
            row
            for keys in settings.pick((20, 500), (20, 100, 500))
            for row in _rows(keys, settings)
        ]
    notes = [
        (
            "Both sides' results and gradients (of query, keys, values and w) are compared before a"
            " case is timed."
        ),
        (
            "Memory that is freed stays with the process, for both: fresh pages, which vary from"
            " call to call, are left out."
        ),
    ]
    return Group(
        "steps",
        f"float32, additive score, 1 query, batch {_BATCH}, d={_DIM}: an RNN decoder's step",
        rows,
        notes,
    )
