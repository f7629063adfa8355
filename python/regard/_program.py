# SPDX-License-Identifier: Apache-2.0
"""The `regard` command of the wheel: starts the C++ program that lies beside this file, with the
libraries of the torch package that is installed."""

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

_PROGRAM = Path(__file__).parent / "bin/regard"
# C++ programs link one version of PyTorch: the one that this package was built with.
_BUILT_WITH = Path(__file__).parent / "bin/torch-version"


def _fail(text: str) -> NoReturn:
    sys.exit(f"regard: {text}")


def main() -> None:
    if not _PROGRAM.exists():
        _fail(
            "this package was built without its program: SentencePiece, FreeType, libpng, CLI11 or"
            " nlohmann-json was missing (libsentencepiece-dev, libfreetype-dev, libpng-dev,"
            " libcli11-dev, nlohmann-json3-dev, libicu-dev)"
        )
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        _fail("there is no torch")
    wanted = _BUILT_WITH.read_text().strip()
    found = importlib.metadata.version("torch").split("+")[0]
    if found.split(".")[:2] != wanted.split(".")[:2]:
        _fail(
            f"the program was built with torch {wanted} and finds torch {found}: install {wanted}"
        )
    libraries = [str(_PROGRAM.parent), str(Path(torch.origin).parent / "lib")]
    if before := os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(before)
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    os.execve(_PROGRAM, [str(_PROGRAM), *sys.argv[1:]], environment)
