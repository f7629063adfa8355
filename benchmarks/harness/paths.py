# SPDX-License-Identifier: Apache-2.0
"""Where the benchmark's own programs were built."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def built(name: str) -> Path:
    """The file `name` of benchmarks/CMakeLists.txt. REGARD_BENCH_DIR names another folder than
    that of the release build."""
    folder = Path(os.environ.get("REGARD_BENCH_DIR", ROOT / "build" / "release" / "benchmarks"))
    path = folder / name
    if not path.exists():
        raise SystemExit(
            f"{path} is missing: run `./dev build` first, or set REGARD_BENCH_DIR to the folder"
            f" that holds {name}"
        )
    return path
