# SPDX-License-Identifier: Apache-2.0
"""Trains the models of the lecture on real text and shows what attention is worth.

models="./dev run python benchmarks/models/main.py"
$models run [EXPERIMENT...] --work DIR [--multi30k DIR] [--minutes M]
$models report --work DIR      writes docs/models.md and its pictures

EXPERIMENT: race, paragraphs, alignments, summaries, luong; of language models writer, sections,
manuals; all of them without a name. Every
training is a folder of DIR and a result a JSON file there: started again after an interruption,
what is done stays done and what was begun goes on. --epochs and --minutes bound each training,
--threads its threads. The program is build/release/cli/regard (./dev build regard_cli).
"""

import argparse
from pathlib import Path

import experiments
import language
import report

import data


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train, translate, count")
    run.add_argument("experiments", nargs="*", metavar="EXPERIMENT", default=[])
    run.add_argument(
        "--multi30k",
        type=Path,
        help="a folder with {train,val,test_2016_flickr}.{de,en}.gz; otherwise Debian's alone",
    )
    run.add_argument("--minutes", type=float, default=0, help="of each training; 0 is no limit")
    run.add_argument("--epochs", type=float, default=10, help="of each training; 0 is no limit")
    run.add_argument("--threads", type=int, default=2)
    run.add_argument(
        "--parts", type=int, default=5, help="stops on the way, at which BLEU is counted"
    )
    run.add_argument("--dim", type=int, default=256, help="width of the recurrent models")
    run.add_argument("--pieces", type=int, default=4000, help="of a vocabulary")
    report_ = commands.add_parser("report", help="write docs/models.md from what there is")
    run.add_argument("--bf16", action="store_true", help="language models: products in bfloat16")
    run.add_argument("--steps", type=int, default=1000, help="of the language model")
    run.add_argument("--section-steps", type=int, default=800, help="of the sections' classifier")
    run.add_argument(
        "--manual-epochs",
        type=float,
        nargs=2,
        metavar=("CUT", "WHOLE"),
        default=(8, 1),
        help="of the manuals' classifier, over pages cut to 512 tokens and then over whole ones",
    )
    for command in (run, report_):
        command.add_argument("--work", type=Path, required=True, help="trainings and results")
    return parser.parse_args()


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.command == "report":
        report.write(options.work)
        return
    known = experiments.EXPERIMENTS | language.EXPERIMENTS
    unknown = set(options.experiments) - set(known)
    if unknown:
        raise SystemExit(
            f"no such experiment: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    names = options.experiments or known
    sets = data.prepare(options.work / "data", options.multi30k)
    for name in names:
        print(f"== {name}", flush=True)
        known[name](options, sets)


if __name__ == "__main__":
    main()
