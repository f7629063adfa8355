# SPDX-License-Identifier: Apache-2.0
"""Memory of a call beyond its inputs and outputs, measured by benchmarks/memory_bench.cc."""

import json
import subprocess

from harness.paths import built
from harness.rows import Group, Row

from groups.settings import Settings

_MIB = 1024 * 1024
_GOAL = 16 * _MIB  # of scratch for a worker
_COUNTERS = 0.1  # bytes a query
_PLAN_GOAL = 0.050  # seconds for a million rows
_PLAN_BYTES_A_ROW = 64  # so that memory grows with the rows, and not with tiles squared


def _copy(line: dict) -> int:
    """Bytes of the float copy of dq that narrow gradients are gathered in; it is kept beside the
    scratch."""
    narrow = line["direction"] == "backward" and line["dtype"] != "float32"
    return 4 * line["dim"] * line["len_q"] if narrow else 0


def _row(line: dict, first: float) -> Row:
    """`first`: the scratch of a worker in the shortest case of this direction."""
    scratch = (line["scratch_bytes"] - _copy(line)) / line["workers"]
    # Beyond scratch: lse and delta (a few floats a query), and at most one float copy of the
    # gradients, dq, dk and dv.
    rows = 4 * line["len_q"] * 4
    gradients = (
        4 * line["dim"] * (line["len_q"] + 2 * line["len_k"])
        if line["direction"] == "backward"
        else 0
    )
    beyond = max(0, line["cold_peak_bytes"] - scratch * line["workers"])
    same = scratch <= first + _COUNTERS * line["len_q"]
    met = (
        scratch <= _GOAL
        and same
        and beyond <= rows + gradients + _MIB
        and line["warm_allocations"] == 0
    )
    shape = (
        f"n={line['len_k']}"
        if line["len_q"] == line["len_k"]
        else f"{line['len_q']} queries, {line['len_k']} keys"
    )
    kind = "" if line["case"].endswith("queries") else f", {line['case']}"
    workers = f", {line['workers']} worker" + ("s" if line["workers"] > 1 else "")
    return Row(
        "memory",
        f"{line['direction']} {line['dtype']}, {shape}, d={line['dim']}{kind}{workers}",
        goal="16 MiB a worker, the same at every n; warm: 0",
        met=met,
        values=line,
        reached=f"{scratch / _MIB:.1f} MiB, beyond it {beyond / _MIB:.1f};"
        f" warm: {line['warm_allocations']} allocations",
    )


def _plan(line: dict) -> Row:
    bytes_a_row = line["bytes"] / line["rows"]
    return Row(
        "memory",
        f"plan of n={line['rows']}, window of 256 keys",
        line["milliseconds"] * 1e-3,
        goal=f"about {_PLAN_GOAL * 1e3:g} ms, at most {_PLAN_BYTES_A_ROW} bytes a row",
        reached=f"{bytes_a_row:.1f} bytes a row",
        met=line["milliseconds"] * 1e-3 <= _PLAN_GOAL and bytes_a_row <= _PLAN_BYTES_A_ROW,
        values=line,
    )


def memory(settings: Settings) -> Group:
    settings.say("memory of C++ calls")
    command = [str(built("regard_memory_bench"))] + (["--full"] if settings.level == "full" else [])
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(
            f"{command[0]}: {run.stderr.strip() or f'ended with code {run.returncode}'}"
        )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    plans = [_plan(line) for line in lines if line["case"] == "plan"]
    lines = [line for line in lines if line["case"] != "plan"]
    # "The same at every n": no case keeps more for a worker than the shortest one, but for a
    # counter for each block of queries.
    first = {
        d: next(x["scratch_bytes"] for x in lines if x["direction"] == d)
        for d in ("forward", "backward")
    }
    rows = [_row(x, first[x["direction"]]) for x in lines]
    return Group(
        "memory",
        "scratch that a worker keeps, what a call allocates besides, and planning a long sequence",
        rows + plans,
    )
