#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast Regard is, beside PyTorch and beside what the processor can do, all in one run.

./dev bench                     every group, some twenty-five minutes
./dev bench forward small       some groups
./dev bench --quick             fewer cases and repetitions, a few minutes
./dev bench --full              every case of the grid of short sequences, and the longest ones:
                                hours
./dev bench --json out.json     also writes everything measured
./dev bench --readme            also writes the README's table, and the speeds of
                                docs/mechanisms.md
./dev bench --from out.json --readme     the README's table from an earlier run
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

GROUPS = (
    "forward",
    "backward",
    "bf16",
    "threads",
    "small",
    "ragged",
    "windows",
    "sparse",
    "maps",
    "memory",
    "overhead",
    "steps",
    "decode",
    "corners",
    "mechanisms",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "groups", nargs="*", metavar="group", help=f"of {', '.join(GROUPS)}; all by default"
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "--quick",
        action="store_const",
        const="quick",
        dest="level",
        help="fewer cases and repetitions",
    )
    level.add_argument(
        "--full", action="store_const", const="full", dest="level", help="every case: hours"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--threads", type=int, help="PyTorch's threads; as many as it would use by default"
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="write the table of README.md, and the speeds of docs/mechanisms.md",
    )
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FILE",
        dest="earlier",
        help="measure nothing; take an earlier --json",
    )
    arguments = parser.parse_args()
    unknown = [g for g in arguments.groups if g not in GROUPS]
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if arguments.threads is not None and arguments.threads < 1:
        parser.error("--threads: expected a number of at least 1")
    arguments.level = arguments.level or "default"
    return arguments


class Progress:
    """Tells a waiting person what is being measured: at a terminal one line that changes, in a
    log a line now and then."""

    def __init__(self, groups: int):
        self._groups = groups
        self._group = ""
        self._number = 0
        self._start = time.perf_counter()
        self._last = self._start

    def begin(self, group: str) -> None:
        self._group = group
        self._number += 1
        self("")

    def __call__(self, message: str) -> None:
        now = time.perf_counter()
        line = (
            f"[{(now - self._start) / 60:4.1f} min] {self._group} ({self._number} of"
            f" {self._groups}){message and ': '}{message}"
        )
        if sys.stderr.isatty():
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            sys.stderr.write("\r" + line[:width].ljust(width))
            sys.stderr.flush()
        elif now - self._last > 15:
            self._last = now
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(
                "\r" + " " * (os.get_terminal_size(sys.stderr.fileno()).columns - 1) + "\r"
            )
            sys.stderr.flush()


def _measure(arguments: argparse.Namespace) -> dict:
    import regard
    import torch
    from groups import (
        corners,
        decode,
        dense,
        maps,
        mechanisms,
        memory,
        overhead,
        ragged,
        small,
        sparse,
        steps,
        threads,
        windows,
    )
    from groups.settings import Settings
    from harness import machine, matrix_product, report
    from harness.peak import Peak

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    count = torch.get_num_threads()
    target = regard.kernel_target()
    peak = Peak(target)
    peaks = {
        f"FMA, {t} thread" + ("s" if t > 1 else ""): peak.measure("fma", t, 0.1) * 1e-9
        for t in sorted({1, count})
    }
    if peak.has_bf16:
        peaks |= {
            f"bf16, {t} thread" + ("s" if t > 1 else ""): peak.measure("bf16", t, 0.1) * 1e-9
            for t in sorted({1, count})
        }
    described = machine.describe(
        target, count, peaks
    )  # its load average is that of others: nothing long has run yet
    described["matrix_product_shares"] = matrix_product.shares(peak, sorted({1, count}))
    print(report.heading(described), flush=True)

    names = [g for g in GROUPS if g in arguments.groups] or GROUPS
    progress = Progress(len(names))
    settings = Settings(peak, count, arguments.level, progress)
    functions = {
        "forward": dense.forward,
        "backward": dense.backward,
        "bf16": dense.bf16,
        "threads": threads.threads,
        "small": small.small,
        "ragged": ragged.ragged,
        "windows": windows.windows,
        "sparse": sparse.sparse,
        "maps": maps.maps,
        "memory": memory.memory,
        "overhead": overhead.overhead,
        "steps": steps.steps,
        "decode": decode.decode,
        "corners": corners.corners,
        "mechanisms": mechanisms.mechanisms,
    }
    start = time.perf_counter()
    done = []
    for name in names:
        torch.set_num_threads(count)
        progress.begin(name)
        done.append(functions[name](settings))
        progress.clear()
        print(report.text(done[-1]), flush=True)
    print(report.verdict(done), f"Measured in {(time.perf_counter() - start) / 60:.1f} minutes.")
    path = arguments.json or Path(os.environ.get("TMPDIR", "/tmp")) / "regard-bench.json"
    report.write_json(path, described, arguments.level, len(names) == len(GROUPS), done)
    print(f"All figures: {path}")
    return json.loads(path.read_text())


def main() -> None:
    arguments = _arguments()
    if arguments.earlier:
        if not arguments.earlier.exists():
            raise SystemExit(f"--from: {arguments.earlier} does not exist")
        document = json.loads(arguments.earlier.read_text())
    else:
        document = _measure(arguments)
    if arguments.readme:
        from harness import paths, report

        measured = {g["name"] for g in document["groups"]}
        if measured - {"mechanisms"}:
            report.write_readme(paths.ROOT / "README.md", document)
            print("README.md: table written")
        if "mechanisms" in measured:
            report.write_mechanisms(paths.ROOT / "docs" / "mechanisms.md", document)
            print("docs/mechanisms.md: speeds written")


if __name__ == "__main__":
    main()
