# SPDX-License-Identifier: Apache-2.0
"""`regard data debian` on lists that are here; the network is asked for by nobody's test."""

import json
import os
from pathlib import Path

import pytest
from conftest import regard

ENGLISH = """Package: p{n}
Description-md5: {n}
Description-en: tool number {n}
 This is tool number {n}, which reads files.
 .
 It also writes them {n} times.

"""
GERMAN = """Package: p{n}
Description-md5: {n}
Description-de: Werkzeug Nummer {n}
 Dies ist Werkzeug Nummer {n}, das Dateien liest.
 .
 Es schreibt sie auch {n} Mal.

"""


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    for language, text in (("en", ENGLISH), ("de", GERMAN)):
        name = f"archive_i18n_Translation-{language}"
        (folder / name).write_text("".join(text.format(n=n) for n in range(500)))
    return folder


PACKAGE = """Package: p{n}
Source: s{s}
Section: contrib/{section}
Description-md5: {n}

"""


def lines(path):
    return path.read_text().splitlines()


def test_pairs_and_summaries(lists, tmp_path):
    out = tmp_path / "data"
    done = regard("data", "debian", "--languages", "en,de", "--lists", lists, "--out", out)
    assert f"{out}/en-de: " in done.stdout and "pairs to train on" in done.stdout
    parts = {}
    for part in ("train", "valid", "test"):
        english, german = lines(out / f"en-de/{part}.en"), lines(out / f"en-de/{part}.de")
        assert len(english) == len(german) > 0
        parts[part] = set(english)
        for a, b in zip(english, german, strict=True):
            digits = [word.strip(",") for word in a.split() if word.strip(",").isdigit()]
            assert digits[0] in b
    assert sum(map(len, parts.values())) == 1500
    assert not parts["train"] & (parts["valid"] | parts["test"])
    long, short = lines(out / "summaries/train.long"), lines(out / "summaries/train.short")
    assert long[0].startswith("This is tool number") and short[0].startswith("tool number")


def test_descriptions_with_sections(lists, tmp_path):
    out = tmp_path / "data"
    done = regard("data", "debian", "--lists", lists, "--out", out)
    assert "sections are left out" in done.stderr and not (out / "descriptions").exists()
    packages = [
        PACKAGE.format(n=n, s=n // 5, section="libs" if n % 2 else "games") for n in range(500)
    ]
    (lists / "archive_Packages").write_text("".join(packages))
    done = regard("data", "debian", "--lists", lists, "--out", out)
    assert "in 2 sections" in done.stdout
    sources = {}
    for part in ("train", "valid", "test"):
        rows = [json.loads(line) for line in lines(out / f"descriptions/{part}.jsonl")]
        assert rows
        for row in rows:
            number = int(row["package"][1:])
            assert row["label"] == ("libs" if number % 2 else "games")
            assert row["text"].startswith(f"tool number {number}\nThis is tool number {number},")
            assert sources.setdefault(row["source"], part) == part
    assert len(sources) == 100


def test_the_count_as_json(lists, tmp_path):
    out = tmp_path / "data"
    done = regard("data", "debian", "--lists", lists, "--out", out, "--json")
    sets = json.loads(done.stdout)
    assert sum(sets[0]["pairs"].values()) == 1500
    assert json.loads((out / "statistics.json").read_text()) == sets
    assert sets[1]["source_words"]["mean"] == 3  # "tool number 7"


def test_a_language_that_is_not_there(lists, tmp_path):
    done = regard(
        *("data", "debian", "--languages", "en,fr", "--lists", lists, "--out", tmp_path / "data"),
        check=False,
    )
    assert done.returncode == 1
    assert "no package descriptions in language 'fr'" in done.stderr


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="a system without apt")
def test_without_a_network_it_says_what_to_do(tmp_path):
    """apt finds no way out through a proxy that is not there."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {**os.environ, **nowhere}
    environment.pop("no_proxy", None)
    done = regard("data", "debian", "--out", tmp_path / "data", check=False, env=environment)
    if done.returncode == 0:
        pytest.skip("apt's own settings lead to its archive in spite of the proxy")
    assert done.returncode == 1
    assert "apt-get update ended with" in done.stderr
    assert "regard train translate --source FILE --target FILE" in done.stderr
