# SPDX-License-Identifier: Apache-2.0
"""The snippets of README.md, docs/maps.md and docs/flash_attn.md compile and run as they stand
there, and the files that they link exist."""

import os
import re
import subprocess
import sys

import pytest
from tree import ROOT

PAGES = [ROOT / "README.md", ROOT / "docs/maps.md", ROOT / "docs/flash_attn.md"]


def snippets(language):
    found = []
    for page in PAGES:
        found += re.findall(
            rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
        )
    return found


def program(snippet):
    """A snippet with a main() is a program; of any other, the includes go to the top and the
    rest into a main()."""
    if "int main(" in snippet:
        return snippet
    lines = snippet.splitlines()
    top = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    return "\n".join([*top, "int main() {", *body, "}", ""])


def check(command):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_there_are_snippets_of_both_languages():
    assert snippets("cpp") and snippets("python")


@pytest.mark.parametrize("number", range(len(snippets("cpp"))))
def test_cpp_snippet(number, tmp_path):
    source, binary = tmp_path / "snippet.cc", tmp_path / "snippet"
    source.write_text(program(snippets("cpp")[number]))
    core = ROOT / "build/release/src/core"
    libraries = [
        "-L",
        core,
        "-lregard_tbb",
        "-lregard",
        "-lhwy_contrib",
        "-lhwy",
        "-ltbb",
        "-pthread",
    ]
    check(
        [
            "c++",
            "-std=c++20",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
            ROOT / "include",
            source,
            "-o",
            binary,
            *libraries,
        ]
    )
    check([binary])


@pytest.mark.parametrize("number", range(len(snippets("python"))))
def test_python_snippet(number, tmp_path):
    source = tmp_path / "snippet.py"
    source.write_text(snippets("python")[number])
    check([sys.executable, source])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]
    assert targets and not missing
