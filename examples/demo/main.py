#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Regard does, shown on real models.

./dev demo                       a language model reads the GNU GPL; kernels beside PyTorch's; a
                                 picture of attention; a translator is trained and looked at
./dev demo my.txt                the same with a text of yours (up to 8192 tokens; the rest is
                                 cut off)
./dev demo --text "Any words"    also a picture of how an encoder attends to these words, and
                                 their translation to German
./dev demo --only picture        one part: reading, kernels, picture or translator
"""

import argparse
import time
from pathlib import Path

import texts
from rich.console import Console
from rich.padding import Padding

_RABBIT = "The rabbit is running on the grass"
_PARTS = ("reading", "kernels", "picture", "translator")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=texts.GPL,
        help=f"the text that the language model reads (default: {texts.GPL})",
    )
    parser.add_argument("--text", help="words for a picture of their own")
    parser.add_argument("--only", choices=_PARTS, help="show this part alone")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        help="folder for pictures and pages (default: demo-output)",
    )
    return parser.parse_args()


def _pictures(text: str | None, folder: Path, console: Console) -> None:
    with console.status("loading the encoder's libraries"):
        import heads
        import heads_page
        import heads_picture

    console.print(f"[bold]3. Self-attention of {heads.ENCODER}[/bold]: exact weights, by Regard")
    folder.mkdir(parents=True, exist_ok=True)
    for stem, words in (("attention-rabbit", _RABBIT), ("attention-text", text)):
        if words is None:
            continue
        name = f"“{texts.shortened(words, 60)}”"
        with console.status(f"looking at {name}"):
            seen = heads.look(words)
        if seen.cut_from > len(seen.tokens):
            console.print(
                f"   {seen.cut_from} tokens: cut to the first {heads.MOST_TOKENS}, more would not"
                " fit on a page"
            )
        with console.status("drawing"):
            pages = [
                *heads_picture.write(seen, folder, stem),
                heads_page.write(seen, folder / f"{stem}.html"),
            ]
        layers, count, n, _ = seen.weights.shape
        said = (
            f"{name}: {n} tokens, {layers * count} heads. Beside the model's own eager attention,"
            f" weights differ by at most {seen.weight_error:.0e}, its output by"
            f" {seen.output_error:.0e}."
        )
        console.print(Padding(said, (0, 0, 0, 3)), highlight=False)
        for page in pages:
            console.print(f"   {page.resolve()}", highlight=False, soft_wrap=True)
    console.print()


def main() -> None:
    arguments = _arguments()
    console = Console()
    start = time.perf_counter()
    try:
        if arguments.text is not None and not arguments.text.strip():
            raise texts.InputError("--text: empty; expected some words")
        if arguments.only in (None, "reading"):
            texts.read(
                arguments.file
            )  # a wrong file is said at once, not after the libraries are loaded
            import reading

            reading.show(arguments.file, console)
        if arguments.only in (None, "kernels"):
            import kernels

            kernels.show(console)
        if arguments.only in (None, "picture"):
            _pictures(arguments.text, arguments.output, console)
        if arguments.only in (None, "translator"):
            import translator

            translator.show(arguments.text, arguments.output, console)
    except texts.InputError as error:
        raise SystemExit(f"./dev demo: {error}") from error
    console.print(f"All of it in {time.perf_counter() - start:.0f} seconds.")


if __name__ == "__main__":
    main()
