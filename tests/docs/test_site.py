# SPDX-License-Identifier: Apache-2.0
"""The site of `./dev docs` builds without a warning, and shows every public function."""

import inspect
import re
import shutil
import subprocess
import sys

import pytest
import regard
from tree import ROOT


@pytest.fixture(scope="module")
def python_page(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(out)]
    built = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return (out / "api/python.html").read_text()


NAMES = [name for name in regard.__all__ if not inspect.ismodule(getattr(regard, name))]


@pytest.mark.parametrize("name", NAMES)
def test_the_python_reference_shows(name, python_page):
    assert re.search(rf'id="regard\.(\w+\.)*{name}"', python_page), f"no entry for regard.{name}"


def test_doxygen_finds_nothing_to_warn_about(tmp_path):
    assert shutil.which("doxygen"), "doxygen is one of ./dev's Debian packages"
    settings = (ROOT / "docs/Doxyfile").read_text()
    settings = re.sub(r"(?m)^OUTPUT_DIRECTORY.*$", f"OUTPUT_DIRECTORY = {tmp_path}", settings)
    settings = re.sub(r"(?m)^HTML_OUTPUT.*$", "HTML_OUTPUT = cpp", settings)
    built = subprocess.run(
        ["doxygen", "-"], cwd=ROOT, input=settings, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "cpp/attention_8h.html").read_text()
    assert "bitwise reproducible" in page, "comments of the headers are not on their pages"
