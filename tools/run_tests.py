# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the test suites, and ends with one line: how many tests passed, failed and
were skipped.

./dev test [--all] [SUITE...]    the suites of DEFAULT, or those named: core, asan, ubsan, tsan,
                                 text, data, picture, image, tokenizers, formats, nn,
                                 generate, train, cli, docs, growth, consumer, python

The whole core suite runs on this processor's own instruction set, and of it on the others what
their code differs in; --all (and ./dev sanitize) runs the whole on each, and builds benchmarks/nn
as well.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
DEFAULT = ["core", "asan", "text", "data", "picture", "image", "tokenizers", "formats", "nn"]
DEFAULT += ["generate", "train", "cli", "docs", "growth", "consumer", "python"]
# suites that are one program each, run once
PROGRAMS = {
    name: f"tests/{name}/{name}_tests"
    for name in ("text", "data", "picture", "nn", "generate", "train")
}
PYTEST = {
    "nn": "tests/nn",  # a program as well
    "tokenizers": "tests/tokenizers",
    "formats": "tests/formats",
    "image": "tests/image",
    "generate": "tests/generate",  # a program as well
    "cli": "tests/cli",
    "docs": "tests/docs",
    "growth": "tests/growth",
    "consumer": "tests/consumer",
    "python": "tests/python",
}
SANITIZERS = ["asan", "ubsan", "tsan"]
TIME_LIMIT = 35 * 60  # seconds for one suite: one that hangs is a failure with a name
TIME_LIMITS = {"tsan": 60 * 60, "python": 40 * 60}  # on two slow cores
# Test cases whose subject is the same code on every instruction set: masks, checks, schedules,
# parts; and those of other dtypes where one suite (DTypes/EachDType) runs each dtype on each set.
# Whatever is not named here, new cases too, runs on every set.
SAME_ON_EACH_TARGET = [
    *("Denormals*", "DTypes.*", "Encoding*", "ExecutorTbb*", "Layout*", "MaskProperty*", "Memory*"),
    *("Merge*", "Oracle*", "Parts*", "Plan*", "Run*", "Schedule*", "Target*", "Validate*"),
    "EachDType/Additive*/float16",
    *(
        f"DTypes/{suite}.*/{dtype}"
        for suite in ("Cache", "Decode", "Hostile", "Map", "MapAnswers", "Strides", "Underflow")
        for dtype in ("float16", "float64")
    ),
]
# They look at the bits of what others run as well: sanitizers find nothing new in them.
SAME_MEMORY = ["Bitwise*", "DTypes/Bitwise*", "DTypes/Gqa*", "DTypes/OneKey*", "OutOverQueries*"]
# Suites run side by side: PyTorch's threads that wait for each other shall sleep, not spin on what
# another suite could use. (With spinning a training of four seconds took minutes.)
SIDE_BY_SIDE = {"OMP_WAIT_POLICY": "PASSIVE"}
# the end of a failing suite's log is shown; a property's search for a small example writes
# thousands
LOG_LINES = 400


@dataclass
class Result:
    suite: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self):
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return "".join(
            [
                f"{self.suite}: {counts} ({self.seconds:.0f} s)",
                *(f"\n    {note}" for note in self.notes),
            ]
        )


def say(text):
    print(f"==> {text}", flush=True)


def count(report, result):
    """Adds the test cases of a GoogleTest or pytest XML report to the result."""
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        elif case.find("skipped") is not None or case.get("result") in ("skipped", "suppressed"):
            result.skipped += 1
        else:
            result.passed += 1


def run(suite, command, report, environment=None, log=None):
    """Runs one suite's command, which writes `report`; its output goes to the file `log`, shown
    if anything failed."""
    result = Result(suite)
    report.unlink(missing_ok=True)
    limit = TIME_LIMITS.get(suite, TIME_LIMIT)
    begin = time.monotonic()
    with open(log, "wb") if log else nullcontext() as output:
        try:
            ended = subprocess.run(
                command,
                env={**SIDE_BY_SIDE, **os.environ, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                timeout=limit,
                cwd=ROOT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            ended = f"no end after {limit} s"
    result.seconds = time.monotonic() - begin
    if report.exists():
        count(report, result)
    if (
        ended != 0 and result.failed == 0
    ):  # it fell over outside a test, or before it could write its report
        result.failed += 1
        result.notes.append(f"ended with {ended}: {' '.join(map(str, command))}")
    if result.passed + result.failed + result.skipped == 0:
        result.failed += 1
        result.notes.append("no test was found")
    if log and result.failed:
        lines = log.read_text(errors="replace").splitlines()
        print(*lines[-LOG_LINES:], f"(the whole log: {log})", sep="\n", flush=True)
    say(result)
    return result


def build(preset, *targets):
    if (
        subprocess.run([ROOT / "dev", "build-preset", preset, *targets], check=False).returncode
        != 0
    ):
        print(f"build/{preset} does not build: no test was run\n0 passed, 1 failed, 0 skipped")
        sys.exit(1)


def core(label, preset, target=None, arguments=(), prefix=()):
    name = label.replace(" ", "_")
    report = REPORTS / f"{name}.xml"
    binary = ROOT / "build" / preset / "tests/core/core_tests"
    command = [*prefix, binary, "--gtest_brief=1", f"--gtest_output=xml:{report}", *arguments]
    environment = {"UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": "second_deadlock_stack=1"}
    if target:
        environment["REGARD_TARGET"] = target
    say(f"{label} ...")
    return run(label, command, report, environment, REPORTS / f"{name}.log")


def targets(preset):
    """The instruction sets of the binary: their names, and whether this processor has them."""
    binary = ROOT / "build" / preset / "tests/core/core_tests"
    listed = subprocess.run(
        [binary, "--targets"], capture_output=True, text=True, check=True
    ).stdout
    return [(name, state == "available") for name, state in map(str.split, listed.splitlines())]


def leave_out(patterns):
    return "-" + ":".join(patterns)


def on_each_target(preset, label, filter_others=None, **settings):
    """One job for each instruction set, the processor's own first; those that it lacks are skipped
    by name. `filter_others` is GoogleTest's filter for all sets but its own."""
    own = True
    for name, available in targets(preset):
        if available:
            arguments = [] if own or not filter_others else [f"--gtest_filter={filter_others}"]
            own = False
            yield lambda name=name, arguments=arguments: core(
                f"{label} {name}", preset, target=name, arguments=arguments, **settings
            )
        else:
            yield lambda name=name: Result(
                f"{label} {name}", skipped=1, notes=["this processor lacks it"]
            )


def fixed_addresses():
    """Older sanitizers fall over address layouts that are randomised with many bits; `setarch
    -R` asks for plain ones."""
    prefix = ["setarch", "-R"]
    return (
        prefix
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        else []
    )


def sanitized(preset, everything):
    """Memory errors hide in one instruction set's tiles: its kernels are all run. Races do not:
    the default target will do."""
    prefix = fixed_addresses()
    if preset == "tsan":
        # ThreadSanitizer cannot see into oneTBB, which is not built with it: those tests would
        # report races that are none.
        yield lambda: core(preset, preset, arguments=["--gtest_filter=-*Tbb*"], prefix=prefix)
    else:
        others = None if everything else leave_out(SAME_ON_EACH_TARGET + SAME_MEMORY)
        yield from on_each_target(preset, preset, others, prefix=prefix)


def program(suite):
    report = REPORTS / f"{suite}.xml"
    binary = ROOT / "build/release" / PROGRAMS[suite]
    say(f"{suite} ...")
    command = [binary, "--gtest_brief=1", f"--gtest_output=xml:{report}"]
    return run(suite, command, report, log=REPORTS / f"{suite}.log")


def pytest(suite):
    report = REPORTS / f"{suite}_pytest.xml"
    say(f"{suite} ...")
    return run(
        suite,
        [sys.executable, "-m", "pytest", "-q", "-ra", PYTEST[suite], f"--junitxml={report}"],
        report,
        log=REPORTS / f"{suite}_pytest.log",
    )


def main():
    arguments = sys.argv[1:]
    everything = "--all" in arguments
    suites = [name for name in arguments if name != "--all"] or DEFAULT
    unknown = set(suites) - {"core", *SANITIZERS, *PROGRAMS, *PYTEST}
    if unknown:
        sys.exit(f"no such suite: {', '.join(sorted(unknown))}\n{__doc__}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    presets = [suite for suite in SANITIZERS if suite in suites]
    if set(suites) - set(SANITIZERS):
        build("release")
        if everything:
            build("release", "nn_benches")
    for preset in presets:
        build(preset, "core_tests")

    jobs = [job for preset in presets for job in sanitized(preset, everything)]
    if "core" in suites:
        others = None if everything else leave_out(SAME_ON_EACH_TARGET)
        jobs.extend(on_each_target("release", "core", others))
    # The longest first, so that all end together.
    slow = [suite for suite in ("python",) if suite in suites]
    jobs = [lambda suite=suite: pytest(suite) for suite in slow] + jobs
    jobs += [lambda suite=suite: program(suite) for suite in PROGRAMS if suite in suites]
    jobs += [
        lambda suite=suite: pytest(suite)
        for suite in PYTEST
        if suite in suites and suite not in slow
    ]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        results = list(pool.map(lambda job: job(), jobs))

    print()
    for result in results:
        print(result)
    totals = [
        sum(getattr(result, kind) for result in results) for kind in ("passed", "failed", "skipped")
    ]
    print("{} passed, {} failed, {} skipped".format(*totals), flush=True)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
