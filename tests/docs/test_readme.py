"""The README's snippets compile and run as they stand there, and the files that it links exist."""

import os
import re
import subprocess
import sys

import pytest
from tree import ROOT

README = ROOT / "README.md"
TEXT = README.read_text() if README.exists() else ""


def snippets(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def program(snippet):
    """A snippet with a main() is a program; of any other, the includes go to the top and the rest into a main()."""
    if "int main(" in snippet:
        return snippet
    lines = snippet.splitlines()
    top = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    return "\n".join([*top, "int main() {", *body, "}", ""])


def check(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_the_readme_has_snippets_of_both_languages():
    assert snippets("cpp") and snippets("python")


@pytest.mark.parametrize("number", range(len(snippets("cpp"))))
def test_cpp_snippet(number, tmp_path):
    source, binary = tmp_path / "snippet.cc", tmp_path / "snippet"
    source.write_text(program(snippets("cpp")[number]))
    core = ROOT / "build/release/src/core"
    libraries = ["-L", core, "-lregard_tbb", "-lregard", "-lhwy", "-ltbb", "-pthread"]
    check(["c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", source, "-o", binary, *libraries])
    check([binary])


@pytest.mark.parametrize("number", range(len(snippets("python"))))
def test_python_snippet(number, tmp_path):
    source = tmp_path / "snippet.py"
    source.write_text(snippets("python")[number])
    check([sys.executable, source])


def test_linked_files_exist():
    targets = re.findall(r"\]\(([^)#\s]+)\)", TEXT) + re.findall(r'src="([^"]+)"', TEXT)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing
