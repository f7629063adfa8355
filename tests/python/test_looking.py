# SPDX-License-Identifier: Apache-2.0
"""examples/looking.py, on a short text: it draws a picture, and what it prints adds up."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "looking.py"


def look(*arguments):
    return subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_short_text(tmp_path):
    text, picture = tmp_path / "text.txt", tmp_path / "pictures" / "looking.png"
    text.write_text("The rabbit is running on the grass.")
    done = look(text, "--layer", 2, "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    sections = done.stdout.split("\n\n")[1:]
    assert [section.splitlines()[0].partition(":")[0] for section in sections] == [
        "Layer 2, mean over heads",
        "Layer 2",
        "All 30 layers",
    ]
    for section, whole in zip(sections, (1, 8, 1), strict=True):  # of 8 tokens, six are shown
        shown = [float(line.split()[0]) for line in section.splitlines()[1:]]
        assert (
            len(shown) == 6
            and shown == sorted(shown, reverse=True)
            and 0.5 * whole < sum(shown) <= whole + 0.01
        )


def test_a_file_that_is_not_there():
    done = look("no such file")
    assert done.returncode == 2 and "there is no such file" in done.stderr


def test_a_layer_that_the_model_does_not_have():
    done = look("--layer", 31)
    assert (
        done.returncode == 2
        and "--layer 31: expected 1 to 30" in done.stderr
        and "reading" not in done.stdout
    )
