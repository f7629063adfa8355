# SPDX-License-Identifier: Apache-2.0
"""./dev sweep transformers: every architecture of the installed transformers, tiny and random,
through attn_implementation="regard" and beside eager. Writes the table of docs/transformers.md.

    ./dev sweep transformers                      all of them, and the table
    ./dev sweep transformers --only llama bert    some, printed alone
    ./dev sweep transformers --again              those that were not right, or not reached
    ./dev sweep transformers --table              only the table, from what was kept

Reports are kept in build/sweep-transformers.jsonl as they come: a run may be interrupted.
"""

import argparse
import dataclasses
import difflib
import functools
import json
import logging
import os
import pathlib
import signal
import sys
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))

import report  # noqa: E402
import shards  # noqa: E402

KEPT = ROOT / "build" / "sweep-transformers.jsonl"
LONGEST = 20  # seconds of the processor for one architecture


def main():
    parser = argparse.ArgumentParser(
        prog="./dev sweep", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["transformers"])
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="model types of transformers")
    parser.add_argument("--shards", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--again", action="store_true", help="those not right, or not reached")
    parser.add_argument("--table", action="store_true", help="only the table, from what was kept")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        for each in _examined(options.worker):
            print(json.dumps(each), flush=True)
        return
    if options.only:
        for each in _examined(options.only):
            print(report.line(each), flush=True)
        return
    KEPT.parent.mkdir(exist_ok=True)
    if not (options.again or options.table):
        KEPT.unlink(missing_ok=True)
    known = _kept()
    if not options.table:
        wanted = [name for name in _types() if known.get(name, {}).get("result") != "right"]
        wanted.sort(key=lambda name: name in known)  # those that no run has reached come first
        with KEPT.open("a") as kept:
            shards.run(wanted, options.shards, __file__, functools.partial(_keep, kept))
        known = _kept()
    reports = [known.get(name) or report.waiting(name) for name in _types()]
    report.write(reports, ROOT / "docs" / "transformers.md")
    print(report.summary(reports))


def _keep(kept, one):
    print(json.dumps(one), file=kept, flush=True)


def _kept():
    """The last report of each type: {model type: report}."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return {each["model_type"]: each for each in map(json.loads, lines)}


def _types():
    from sweep import configs

    return sorted(configs.model_types())


def _examined(wanted):
    import torch
    import transformers
    from sweep import checks, configs

    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    types = configs.model_types()
    for model_type in wanted:
        if model_type not in types:
            near = difflib.get_close_matches(model_type, types, 5, 0.5)
            sys.exit(
                f"{model_type}: no such model type in transformers {transformers.__version__}"
                + (f"; near it: {', '.join(near)}" if near else "")
            )
    signal.signal(signal.SIGPROF, _too_long)
    for model_type in wanted:
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        try:
            yield dataclasses.asdict(checks.examine(model_type, types[model_type]))
        except TimeoutError as error:
            late = checks.Report(model_type, types[model_type] or "", said=str(error))
            yield dataclasses.asdict(late)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(*_):
    raise TimeoutError(f"took longer than {LONGEST} s of the processor")


if __name__ == "__main__":
    main()
