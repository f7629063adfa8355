# SPDX-License-Identifier: Apache-2.0
"""The command line program, and results that are kept."""

import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/cli/regard"


def regard(*arguments, text=None):
    """Runs `regard`; its progress goes to the terminal. Gives what it wrote."""
    command = [PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


def kept(path, make):
    """The result in a JSON file, made if it is not there; with the day and the machine."""
    if not path.exists():
        result = {**make(), "date": time.strftime("%Y-%m-%d"), "processor": _processor()}
        path.with_suffix(".tmp").write_text(json.dumps(result, indent=1))
        path.with_suffix(".tmp").rename(path)
    return json.loads(path.read_text())


def train(options, texts, folder, flags, part=1, task="translate"):
    """Trains up to that part of the limits, or goes on to it; what came of it."""
    files = [
        *("--source", texts.file("train", "source"), "--target", texts.file("train", "target")),
        *("--valid-source", texts.file("valid", "source")),
        *("--valid-target", texts.file("valid", "target")),
    ]
    limits = ["--minutes", options.minutes * part, "--epochs", options.epochs * part]
    more = ["--threads", options.threads, "--json"]
    said = regard("train", task, *files, "--out", folder, *flags, *limits, *more)
    return json.loads(said)


def translate(options, folder, sources, task="translate"):
    text = "".join(line + "\n" for line in sources)
    return regard(task, folder, "--threads", options.threads, text=text).splitlines()
