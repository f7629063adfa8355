# SPDX-License-Identifier: Apache-2.0
"""Forward, backward and bf16 on long sequences: shares of the processor's peak."""

from harness.attention import Case, Tensors, contender
from harness.rows import Group, Row
from harness.timing import interleave

from groups.settings import Settings

# (direction, dtype, d, causal): the least share of the peak; on a processor that has AVX-512,
# whatever target runs
_GOALS = {
    ("forward", "fp32", 128, False): 0.86,
    ("forward", "fp32", 64, False): 0.82,
    ("forward", "fp32", 128, True): 0.82,
    ("forward", "fp32", 64, True): 0.78,
    ("backward", "fp32", 128, False): 0.80,
    ("backward", "fp32", 64, False): 0.80,
    ("backward", "fp32", 128, True): 0.78,
    ("backward", "fp32", 64, True): 0.78,
    ("forward", "bf16", 128, False): 0.80,
    ("forward", "bf16", 128, True): 0.70,
    ("backward", "bf16", 128, False): 0.60,
}

# on an older one, that has AVX2 only
_OLDER_GOALS = {
    ("forward", "fp32", 128, False): 0.76,
    ("forward", "fp32", 64, False): 0.74,
    ("backward", "fp32", 128, False): 0.72,
    ("backward", "fp32", 64, False): 0.72,
}


def _row(group: str, case: Case, threads: int, settings: Settings) -> Row:
    kind = "bf16" if case.dtype == "bf16" else "fma"
    settings.say(f"{case.direction} {case.dtype}, {case}, {threads} threads")
    tensors = Tensors(case)
    ways = ("regard.attention", "PyTorch")
    ours, theirs = interleave(
        [contender(w, case, tensors, threads, kind) for w in ways],
        settings.pick(3, 7, 15),
        settings.peak,
    )
    goals = _GOALS if settings.peak.has_avx512 else _OLDER_GOALS
    goal = goals.get((case.direction, case.dtype, case.d, case.causal))
    if kind == "bf16" and (settings.peak.has_matrix_unit or not settings.peak.has_bf16):
        goal = None
    return Row(
        group,
        f"{case.direction} {case.dtype}, {case}, {threads} thread" + ("s" if threads > 1 else ""),
        ours.time,
        theirs.time,
        "PyTorch SDPA",
        ours.rate,
        ours.peak,
        ours.share,
        ours.disturbed,
        goal="" if goal is None else f"{goal:.0%} of peak",
        reached="" if goal is None else f"{ours.share:.1%}",
        met=None if goal is None else ours.share >= goal,
        values={
            "n": case.n,
            "d": case.d,
            "causal": case.causal,
            "dtype": case.dtype,
            "threads": threads,
            "shares": ours.shares,
            "their_share": theirs.share,
            "direction": case.direction,
        },
    )


def _rows(group: str, direction: str, dtype: str, settings: Settings) -> list[Row]:
    rows = []
    for threads in settings.pick((settings.threads,), dict.fromkeys((1, settings.threads))):
        for d in (128, 64):
            for causal in (False, True):
                rows.append(_row(group, Case(2048, d, causal, direction, dtype), threads, settings))
    return rows


def forward(settings: Settings) -> Group:
    return Group(
        "forward", "float32, 8 heads, n=2048", _rows("forward", "forward", "fp32", settings)
    )


def backward(settings: Settings) -> Group:
    return Group(
        "backward",
        "float32, 8 heads, n=2048; the backward pass alone",
        _rows("backward", "backward", "fp32", settings),
    )


def bf16(settings: Settings) -> Group:
    about = "bfloat16, 8 heads, n=2048, against the bf16 peak"
    notes = []
    if not settings.peak.has_bf16:
        about = "bfloat16, 8 heads, n=2048, computed in float32: against the FMA peak"
        notes.append("This target does not multiply bf16: no goal applies.")
    if settings.peak.has_matrix_unit:
        about = "bfloat16, 8 heads, n=2048, against the peak of the matrix unit"
        notes.append(
            "Exponentials, not products, are the limit beside a matrix unit: no share of its peak"
            " is a goal."
        )
    return Group(
        "bf16",
        about,
        _rows("bf16", "forward", "bf16", settings) + _rows("bf16", "backward", "bf16", settings),
        notes,
    )
