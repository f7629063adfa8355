# SPDX-License-Identifier: Apache-2.0
"""Sparse masks on a long sequence: what an allowed pair costs, against a pair of the dense
kernel."""

from statistics import median

import regard
import torch
from harness.allocator import freed_memory_is_kept
from harness.attention import Case, Tensors, contender, contender_of
from harness.rows import Group, Row
from harness.timing import Contender, interleave

from groups.settings import Settings

_DIM = 64
_GOAL = 1.4  # times the dense kernel's time for a pair


def _masks(n: int) -> dict:
    near = regard.window(128, 128)
    return {
        "window of 256 keys": regard.window(255, 0),
        "window of 128 keys on both sides": near,
        "window of 256 keys, dilation 4": regard.dilated(255, 0, 4),
        "16 global tokens": regard.global_tokens(torch.arange(16)) | near,
        "16 global tokens, scattered": (
            regard.global_tokens(torch.arange(16) * (n // 16) + 7) | near
        ),
        "BigBird, blocks of 64": regard.bigbird(64),
    }


def _pairs(mask, n: int) -> float:
    """How many pairs a mask allows: where all scores are 0, a row's sum counts the keys that it
    sees."""
    q = torch.zeros(1, 1, n, 1, dtype=torch.float64)
    with torch.no_grad():
        _, lse = regard.attention(q, q, q, mask=mask, return_lse=True)
    return lse.exp().sum().item()


def _contender(mask, case: Case, pairs: float) -> Contender:
    made = contender_of(
        "regard.attention",
        lambda q, k, v: regard.attention(q, k, v, mask=mask),
        case,
        Tensors(case),
        1,
    )
    made.flops *= pairs / case.pairs
    return made


def _rows(name: str, mask, n: int, dense: Case, settings: Settings) -> list[Row]:
    rows, case, pairs = [], Case(n, _DIM, heads=1), _pairs(mask, n)
    for direction in ("forward", "backward"):
        settings.say(f"{direction}, {name}")
        case, dense = case.but(direction=direction), dense.but(direction=direction)
        all_pairs = contender("regard.attention", dense, Tensors(dense), 1)
        ours, whole = interleave(
            [_contender(mask, case, pairs), all_pairs], settings.pick(3, 7, 15), settings.peak
        )
        cost = median(
            (a / pairs) / (b / dense.pairs)
            for a, b in zip(ours.seconds, whole.seconds, strict=True)
        )
        rows.append(
            Row(
                "sparse",
                f"{direction} fp32, n={n}, {name}",
                ours.time,
                rate=ours.rate,
                peak=ours.peak,
                share=ours.share,
                goal=f"a pair at most {_GOAL}x the dense kernel's",
                reached=f"{cost:.2f}x",
                met=cost <= _GOAL,
                values={"n": n, "mask": name, "direction": direction, "pairs": pairs, "cost": cost},
            )
        )
    return rows


def sparse(settings: Settings) -> Group:
    n = settings.pick(16384, 65536)
    dense = Case(settings.pick(4096, 8192), _DIM, heads=1)
    with freed_memory_is_kept():
        rows = [
            row for name, mask in _masks(n).items() for row in _rows(name, mask, n, dense, settings)
        ]
    notes = [
        (
            f"A pair of the dense kernel: all pairs of n={dense.n}, in the same round. Every query"
            " sees its own key."
        ),
        (
            "Memory that is freed stays with the process: fresh pages for outputs, which vary from"
            " call to call, are no cost of pairs."
        ),
    ]
    return Group(
        "sparse",
        f"float32, 1 head, d={_DIM}, 1 thread: time for each pair that the mask allows",
        rows,
        notes,
    )
