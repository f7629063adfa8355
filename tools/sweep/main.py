"""./dev sweep transformers: every architecture of the installed transformers, tiny and random,
through attn_implementation="regard" and beside eager. Writes the table of docs/transformers.md.

    ./dev sweep transformers                      all of them, and the table
    ./dev sweep transformers --only llama bert    some, printed alone
    ./dev sweep transformers --again              those that were not right the last time

The reports are kept in build/sweep-transformers.json.
"""

import argparse
import dataclasses
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

KEPT = ROOT / "build" / "sweep-transformers.json"
LONGEST = 40  # seconds of the processor for one architecture


def main():
    parser = argparse.ArgumentParser(
        prog="./dev sweep", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["transformers"])
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="model types of transformers")
    parser.add_argument("--shards", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--again", action="store_true", help="only those not right last time")
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
    known = {}
    if options.again:
        if not KEPT.exists():
            sys.exit(f"{KEPT}: not there; run ./dev sweep transformers without --again first")
        known = {each["model_type"]: each for each in json.loads(KEPT.read_text())}
    wanted = [name for name in _types() if known.get(name, {}).get("result") != "right"]
    known |= {each["model_type"]: each for each in shards.run(wanted, options.shards, __file__)}
    reports = [known[name] for name in _types()]
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(reports, indent=1))
    report.write(reports, ROOT / "docs" / "transformers.md")
    print(report.summary(reports))


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
            sys.exit(
                f"{model_type}: no such model type in transformers {transformers.__version__};"
                f" expected one of {', '.join(sorted(types))}"
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
