# SPDX-License-Identifier: Apache-2.0
"""Pictures of whole maps: one head's weights pooled to 1024 x 1024, against the forward pass."""

from statistics import median

import regard
import torch
from harness.attention import DTYPES, Case
from harness.rows import Group, Row
from harness.timing import Contender, interleave, ratios

from groups.settings import Settings

_SIZE = (1024, 1024)
_GOAL = 1.3  # times the forward pass


def _cases(n: int, long: int) -> list[tuple[str, Case, object]]:
    """What is seen, its case, the mask. Those that see few pairs are of the `long` length."""
    window, dilated = regard.window(255, 0), regard.dilated(255, 0, 4)
    return [
        ("all pairs", Case(n, 64, heads=1), None),
        ("all pairs", Case(n, 128, heads=1), None),
        ("all pairs", Case(n, 64, heads=1, dtype="bf16"), None),
        ("causal", Case(n, 64, heads=1, causal=True), regard.causal()),
        ("window of 256 keys", Case(long, 64, heads=1), window),
        ("window of 256 keys, dilation 4", Case(long, 64, heads=1), dilated),
    ]


def _rows(what: str, case: Case, mask, settings: Settings) -> list[Row]:
    settings.say(f"{what}, {case}")
    q, k, v = (torch.randn(1, 1, case.n, case.d).to(DTYPES[case.dtype]) for _ in range(3))
    options = {} if mask is None else {"mask": mask}

    def forward():
        with torch.no_grad():
            return regard.attention(q, k, v, return_lse=True, **options)

    _, lse = forward()
    contenders = [
        Contender(
            "picture",
            lambda: regard.attention_picture(q, k, _SIZE, state=lse, **options),
            settings.threads,
        ),
        Contender(
            "picture from q and k alone",
            lambda: regard.attention_picture(q, k, _SIZE, **options),
            settings.threads,
        ),
        Contender("forward", forward, settings.threads),
    ]
    *pictures, pass_ = interleave(
        contenders,
        settings.pick(3, 5, 9),
        settings.peak,
        most_seconds=settings.pick(4, 15, 600),
        peak_each=False,
    )
    rows = []
    for ours in pictures:
        times = median(ratios(ours, pass_))
        rows.append(
            Row(
                "maps",
                f"{ours.contender.name}, {case.dtype}, n={case.n} d={case.d}, {what}",
                ours.time,
                pass_.time,
                "the forward pass",
                disturbed=ours.disturbed or pass_.disturbed,
                goal=f"at most {_GOAL}x the forward pass",
                reached=f"{times:.2f}x",
                met=times <= _GOAL,
                values={
                    "n": case.n,
                    "d": case.d,
                    "dtype": case.dtype,
                    "what": what,
                    "picture": ours.contender.name,
                    "times": times,
                },
            )
        )
    return rows


def maps(settings: Settings) -> Group:
    n, long = settings.pick((4096, 16384), (16384, 65536), (65536, 65536))
    rows = [row for case in _cases(n, long) for row in _rows(*case, settings)]
    notes = [
        (
            "A picture has the statistics of the rows, as a forward pass leaves them; one from q"
            " and k alone makes them by a pass of its own."
        ),
        "n=65536 with all pairs takes minutes: --full.",
    ]
    return Group(
        "maps",
        f"1 head, {settings.threads} threads: weights pooled to {_SIZE[0]} x {_SIZE[1]}, largest of"
        " a cell",
        rows,
        notes,
    )
