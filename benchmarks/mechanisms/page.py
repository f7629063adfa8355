# SPDX-License-Identifier: Apache-2.0
"""docs/mechanisms.md: the lines of code that it shows are the ones that are timed, drawn and
tested."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mechanisms.md"
PICTURES = PAGE.parent / "images" / "mechanisms"

_PICTURE = re.compile(r'^\| <img src="images/mechanisms/(\w+)\.png"')


@dataclass(frozen=True)
class Entry:
    """A row of the page's tables."""

    name: str  # that of its picture
    python: str
    cpp: str


def entries(text: str | None = None) -> dict[str, Entry]:
    """By name, in the page's order. A row starts with its picture and has one line of Python and
    one of C++ between backticks."""
    found = {}
    for line in (PAGE.read_text() if text is None else text).splitlines():
        picture = _PICTURE.match(line)
        if not picture:
            continue
        name = picture[1]
        code = [
            c.replace("\\|", "|") for c in re.findall(r"`([^`]+)`", line)
        ]  # a table's cells escape their bars
        python = [c for c in code if c.startswith("regard.")]
        cpp = [c for c in code if c.startswith("options.")]
        if len(python) != 1 or len(cpp) != 1 or name in found:
            raise ValueError(
                f"{PAGE}, {name}: expected one row, with one line of Python and one of C++"
            )
        found[name] = Entry(name, python[0], cpp[0])
    return found
