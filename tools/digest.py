# SPDX-License-Identifier: Apache-2.0
"""Digests of what the core computes: outputs, statistics, gradients and maps of a few hundred
random attentions, on every instruction set that this processor has.

./dev digest FILE              builds the core and writes its digests to FILE (JSON)
./dev digest FILE OTHER        compares two such files; ends with 1 where a bit differs

A change that should not change results is compared with the digests from before it."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SHOWN = 10  # differences


def record(program, count):
    """{target: {case: {result: digest}}}, as `program` (core_digest) prints it."""
    lines = subprocess.run(
        [program, str(count)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    digests = {}
    for line in lines:
        target, case, result, digest = line.split("\t")
        digests.setdefault(target, {}).setdefault(case, {})[result] = digest
    return digests


def differences(one, other):
    """(target, case, result) of all that is not in both with the same digest."""

    def flat(digests):
        return {
            (target, case, result): digest
            for target, cases in digests.items()
            for case, results in cases.items()
            for result, digest in results.items()
        }

    a, b = flat(one), flat(other)
    return len(a), sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def main():
    parser = argparse.ArgumentParser(
        prog="./dev digest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path, help="where the digests are written, or the first file")
    parser.add_argument("other", type=Path, nargs="?", help="what is compared with it")
    parser.add_argument("--count", type=int, default=300, help="random cases (default: 300)")
    parser.add_argument("--program", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.other is None:
        digests = record(arguments.program, arguments.count)
        arguments.file.write_text(json.dumps(digests, indent=1) + "\n")
        print(f"{arguments.file}: {arguments.count} cases on {', '.join(digests)}")
        return 0
    count, found = differences(
        *(json.loads(path.read_text()) for path in (arguments.file, arguments.other))
    )
    for target, case, result in found[:SHOWN]:
        print(f"{target}: {result} differs: REGARD_CASE='{case}'")
    print(f"{count} results, {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
