# SPDX-License-Identifier: Apache-2.0
"""A real language model reads a whole text twice: with PyTorch's attention and with Regard's."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import texts
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from weights import LANGUAGE_MODEL, load_tokenizer

_MOST_TOKENS = 8192  # what the model was trained to read
# glibc moves the size from which it maps tensors, and gives them back, while a program runs; held
# still, two runs can be compared.
_MEMORY_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": str(8 << 20)}
_SHORTEST_FAIR = 1024  # tokens; below, attention is too small a part to compare


def _run(attention: str, arguments: list[Path], progress: Progress) -> dict:
    """One reader process, its reports shown as a progress bar. Its result."""
    task = progress.add_task(f"{attention}: starting", total=1)
    with tempfile.TemporaryFile("w+") as errors:
        command = [
            sys.executable,
            str(Path(__file__).with_name("reader.py")),
            attention,
            *map(str, arguments),
        ]
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | _MEMORY_SETTINGS,
        )
        result = None
        for line in child.stdout:
            report = json.loads(line)
            if "doing" in report:
                progress.update(
                    task, description=f"{attention}: {report['doing']}", completed=0, total=None
                )
            elif "layer" in report:
                progress.update(
                    task,
                    description=f"{attention}: reading",
                    completed=report["layer"],
                    total=report["of"],
                )
            elif "compared" in report:
                progress.update(task, completed=report["compared"], total=report["of"])
            else:
                result = report["result"]
        if child.wait() != 0 or result is None:
            errors.seek(0)
            raise SystemExit(
                f"the reader with attention '{attention}' failed:\n{errors.read()[-3000:]}"
            )
    progress.update(task, description=f"{attention}: done", completed=1, total=1)
    progress.stop_task(task)
    return result


def _table(count: int, theirs: dict, ours: dict) -> Table:
    table = Table(title=f"{LANGUAGE_MODEL} reads {count:,} tokens", title_justify="left")
    for name, justify in (
        ("", "left"),
        ("PyTorch sdpa", "right"),
        ("Regard", "right"),
        ("speed-up", "right"),
    ):
        table.add_column(name, justify=justify)

    def row(name: str, value, form: str, better: str = "") -> None:
        table.add_row(name, form.format(value(theirs)), form.format(value(ours)), better)

    def speed_up(value) -> str:
        return f"{value(theirs) / value(ours):.2f}x"

    def rest(r: dict) -> float:
        return r["seconds"] - r["attention_seconds"]

    row("whole model", lambda r: r["seconds"], "{:.2f} s", speed_up(lambda r: r["seconds"]))
    row("tokens a second", lambda r: count / r["seconds"], "{:,.0f}")
    row(
        "attention",
        lambda r: r["attention_seconds"],
        "{:.2f} s",
        speed_up(lambda r: r["attention_seconds"]),
    )
    row("everything else", rest, "{:.2f} s")
    row("attention's part", lambda r: r["attention_seconds"] / r["seconds"], "{:.0%}")
    row("peak memory, weights included", lambda r: r["peak_bytes"] / 2**20, "{:,.0f} MiB")
    if theirs["reading_bytes"] and ours["reading_bytes"]:
        row("of it for reading", lambda r: r["reading_bytes"] / 2**20, "{:,.0f} MiB")
    return table


def show(path: Path, console: Console) -> None:
    """Reads the file at `path` with both, prints the table. InputError where the file will not
    do."""
    text = texts.read(path)
    console.print(f"[bold]1. {LANGUAGE_MODEL} reads {path}[/bold]")
    with console.status("cutting the text into tokens"):
        tokenizer = load_tokenizer()
        tokens = np.array(tokenizer(text)["input_ids"], dtype=np.int64)
    if len(tokens) > _MOST_TOKENS:
        console.print(
            f"   {len(tokens):,} tokens: cut to the first {_MOST_TOKENS:,}, which is all that this"
            " model can read at once"
        )
        tokens = tokens[:_MOST_TOKENS]
    if len(tokens) < _SHORTEST_FAIR:
        console.print(
            f"   only {len(tokens):,} tokens: on so short a text the attention is a small part of"
            " the work"
        )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        input_ids, hidden, other = (
            Path(folder) / name for name in ("tokens.npy", "regard.npy", "sdpa.npy")
        )
        np.save(input_ids, tokens)
        theirs = _run("sdpa", [input_ids, other], progress)
        ours = _run("regard", [input_ids, hidden, other], progress)
    console.print(_table(len(tokens), theirs, ours))
    console.print(
        f"Largest difference of any logit: {ours['largest_difference']:.2g} (logits reach"
        f" {ours['largest_logit']:.1f}). Same most likely token at {ours['same_choice']:,} of"
        f" {ours['positions']:,} positions."
    )
    words = [repr(tokenizer.decode([r["next_token"]])) for r in (theirs, ours)]
    if words[0] == words[1]:
        console.print(
            f"After the text, both would write the same next token: {words[0]}\n", highlight=False
        )
    else:
        console.print(
            f"After the text, PyTorch would write {words[0]} and Regard {words[1]}\n",
            highlight=False,
        )
