# SPDX-License-Identifier: Apache-2.0
"""The texts: Multi30k where it is given, Debian's descriptions where apt finds them."""

import gzip
from dataclasses import dataclass
from pathlib import Path

from program import regard


@dataclass
class Texts:
    """A task's files: train, valid and test, a line a text."""

    name: str
    folder: Path
    source: str  # the files' endings
    target: str

    def file(self, part, side):
        return self.folder / f"{part}.{getattr(self, side)}"

    def lines(self, part, side):
        return self.file(part, side).read_text().splitlines()


def _multi30k(given, folder):
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
    for part, name in parts.items():
        for language in ("de", "en"):
            packed = given / f"{name}.{language}.gz"
            (folder / f"{part}.{language}").write_bytes(gzip.decompress(packed.read_bytes()))
    return Texts("multi30k", folder, "de", "en")


def prepare(folder, multi30k):
    """The sets by name, those that there are."""
    sets = {}
    if multi30k is not None:
        sets["multi30k"] = _multi30k(multi30k, folder / "multi30k")
    debian = folder / "debian"
    if not (debian / "summaries/test.short").exists():
        regard("data", "debian", "--languages", "en,de", "--out", debian)
    sets["paragraphs"] = Texts("paragraphs", debian / "en-de/paragraphs", "en", "de")
    sets["summaries"] = Texts("summaries", debian / "summaries", "long", "short")
    return sets
