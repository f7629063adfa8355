# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md and CONTRIBUTING.md are true: the paths that they name exist."""

import re

import pytest
from tree import ROOT

PAGE = ROOT / "docs/architecture.md"


def named_paths(text):
    """What stands in backticks and looks like a path: it has a slash and no blanks, or is a file
    at the top of the tree."""
    quoted = set(re.findall(r"`([\w.*/-]+)`", text))
    top = {path.name for path in ROOT.iterdir()}
    return sorted(name for name in quoted if "/" in name or name in top)


def exists(name):
    """A name holds from the top of the tree, or, for a public header, from include/; stars are
    globbed."""
    return any(any(base.glob(name.strip("/"))) for base in (ROOT, ROOT / "include"))


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_exist(page):
    missing = [name for name in named_paths((ROOT / page).read_text()) if not exists(name)]
    assert not missing, f"{page} names what does not exist: {missing}"


def test_the_page_names_the_rooms():
    text = PAGE.read_text()
    for folder in ("include/regard", "src/core", "src/core/kernels", "python/regard", "tests/core"):
        assert folder in text, f"docs/architecture.md does not name {folder}"


def test_the_check_can_fail():
    assert named_paths("see `src/core/nowhere.cc` and `Options`") == ["src/core/nowhere.cc"]
    assert not exists("src/core/nowhere.cc")
    assert exists("src/core/*.txt") and exists("regard/plan.h")
