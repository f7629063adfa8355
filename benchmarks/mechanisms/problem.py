# SPDX-License-Identifier: Apache-2.0
"""One mechanism on one set of tensors: the page's line and its rival, forward and backward, and
whether they agree."""

from types import SimpleNamespace

import torch

from mechanisms.inputs import Size, inputs
from mechanisms.page import Entry
from mechanisms.rivals import RIVALS

# Largest difference, as a share of the largest element. Gradients of tables and centres are sums
# over millions of pairs.
_TOLERANCE = {"forward": 2e-5, "step": 5e-4}


class Problem:
    def __init__(self, entry: Entry, size: Size, seed: int = 0):
        torch.manual_seed(seed)
        self.entry = entry
        self.rival = RIVALS[entry.name]
        self.x = inputs(entry.name, size)
        self.names = [a for a in ("q", "k", "v", *self.rival.learned) if hasattr(self.x, a)]
        self.leaves = {a: getattr(self.x, a).detach().clone().requires_grad_() for a in self.names}
        self._with_leaves = SimpleNamespace(**(vars(self.x) | self.leaves))
        code = compile(entry.python, entry.name, "eval")
        theirs = self.rival.make(self.x)
        self._calls = {"ours": lambda x: eval(code, vars(x)), "theirs": theirs}
        self.d_out = torch.randn_like(self.forward("ours"))

    def forward(self, whose: str) -> torch.Tensor:
        with torch.no_grad():
            return self._calls[whose](self.x)

    def step(self, whose: str) -> tuple[torch.Tensor, ...]:
        """Forward and backward: the gradients of q, k, v and what is learned besides."""
        return torch.autograd.grad(
            self._calls[whose](self._with_leaves), list(self.leaves.values()), self.d_out
        )

    def run(self, direction: str, whose: str):
        return self.forward(whose) if direction == "forward" else self.step(whose)

    def difference(self, direction: str) -> float:
        """The largest between both sides' results, as a share of the largest element; an error
        where it is too large."""
        if self.rival.expected:
            self._calls["expected"] = self.rival.expected(self.x)
        pairs = [
            self.run(direction, whose)
            for whose in ("ours", "expected" if self.rival.expected else "theirs")
        ]
        if direction == "forward":
            pairs = [(x,) for x in pairs]
        worst = 0.0
        for name, a, b in zip(self.names if direction == "step" else ["out"], *pairs, strict=True):
            share = ((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()
            if not share <= _TOLERANCE[direction]:
                raise AssertionError(
                    f"{self.entry.name}, {direction}, {name}: differs from {self.rival.against} by"
                    f" {share:.1e}"
                )
            worst = max(worst, share)
        return worst
