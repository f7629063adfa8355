# SPDX-License-Identifier: Apache-2.0
"""What the user hands in, checked: a file to read, a text to look at."""

from pathlib import Path

GPL = Path("/usr/share/common-licenses/GPL-3")


class InputError(Exception):
    """The user's to mend; the message says what was expected."""


def read(path: Path) -> str:
    """The text of a file. Errors name the file and what is wrong with it."""
    if not path.exists():
        hint = (
            " (Debian's copy of the GNU GPL, the default: name another text file)"
            if path == GPL
            else ""
        )
        raise InputError(f"{path}: there is no such file{hint}")
    if not path.is_file():
        raise InputError(f"{path}: expected a text file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if b"\0" in content:
        raise InputError(f"{path}: a binary file; expected text in UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start} is {content[error.start]:#04x}); expected text"
            " in UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{path}: empty; expected some text")
    return text


def shortened(text: str, most: int) -> str:
    """On one line, cut between words where there is a gap to cut at."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    return line[: max(line.rfind(" ", 0, most), most - 20)].rstrip() + " …"
