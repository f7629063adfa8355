# SPDX-License-Identifier: Apache-2.0
"""A translator with Bahdanau's attention, trained here and now on the descriptions of Debian's
packages: sentences that it has not seen, and what it looked at."""

import subprocess
from pathlib import Path

from rich.console import Console
from rich.table import Table

PROGRAM = Path(__file__).resolve().parents[2] / "build/release/cli/regard"
MINUTES = 3.5  # of training; all of this part takes less than five on two slow cores
SENTENCE = "library for reading and writing image files"
_UNSEEN = 6

# A small model: the short descriptions have 7 words on average.
_MODEL = ["--model", "bahdanau", "--dim", 256, "--embedding", 128, "--vocabulary-size", 4000]
_TRAINING = ["--batch-tokens", 1500, "--learning-rate", 0.002, "--warmup", 100, "--epochs", 0]


def _regard(*arguments: object, text: str | None = None, quiet: bool = False) -> str:
    """Runs the program; its progress goes to the terminal, unless it is to be quiet."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr or f"regard ended with {done.returncode}")
    return done.stdout


def _data(folder: Path, console: Console) -> Path | None:
    short = folder / "en-de/short"
    if (short / "test.de").exists():
        return short
    try:
        _regard("data", "debian", "--languages", "en,de", "--out", folder, quiet=True)
    except RuntimeError as error:
        console.print(f"   {error}", highlight=False, markup=False)
        console.print("   This part is left out: it needs the text to train on.")
        return None
    return short


def _unseen(short: Path) -> list[tuple[str, str]]:
    """Descriptions of the test part with a few words, spread over it."""
    english, german = (
        (short / f"test.{language}").read_text().splitlines() for language in ("en", "de")
    )
    fit = [pair for pair in zip(english, german, strict=True) if 4 <= len(pair[0].split()) <= 9]
    return fit[:: max(1, len(fit) // _UNSEEN)][:_UNSEEN]


def show(sentence: str | None, output: Path, console: Console) -> None:
    console.print(
        "[bold]4. A translator[/bold] (English to German, Bahdanau's attention), trained for"
        f" {MINUTES} minutes by the regard program"
    )
    short = _data(output / "data", console)
    if short is None:
        return
    model = output / "translator"
    files = [
        *("--source", short / "train.en", "--target", short / "train.de"),
        *("--valid-source", short / "valid.en", "--valid-target", short / "valid.de"),
    ]
    said = _regard(
        *("train", "translate", *files, "--out", model, *_MODEL, *_TRAINING),
        *("--minutes", MINUTES),
    )
    console.print(f"   {said.splitlines()[0]}", highlight=False)

    unseen = _unseen(short)
    mine = sentence or SENTENCE
    sources = [source for source, _ in unseen] + [mine]
    found = _regard("translate", model, text="\n".join(sources) + "\n", quiet=True).splitlines()
    table = Table("unseen English", "the model's German", "a person's German")
    references = [reference for _, reference in unseen] + ["(not in the data)"]
    for row in zip(sources, found, references, strict=True):
        table.add_row(*row)
    console.print(table)
    for name, source in (("alignment", unseen[0][0]), ("alignment-text", mine)):
        picture = output / f"{name}.png"
        page = output / f"{name}.html"
        _regard("align", model, "--source", source, "--out", picture, "--out", page, quiet=True)
        for file in (picture, page):
            console.print(f"   {file.resolve()}", highlight=False, soft_wrap=True)
    console.print(
        f"   Yours:  echo 'any words' | {PROGRAM} translate {model.resolve()}\n",
        highlight=False,
        soft_wrap=True,
    )
