# SPDX-License-Identifier: Apache-2.0
"""Architectures are examined in processes of their own, some at a time: one that dies takes nothing
with it but itself."""

import collections
import itertools
import json
import subprocess
import sys
import threading
import time

CHUNK = 50  # architectures that one process examines: importing transformers takes seconds


def run(names, processes, program, keep):
    """Hands the report of each name to ``keep`` as it comes, with progress on stderr."""
    waiting = collections.deque(names[i : i + CHUNK] for i in range(0, len(names), CHUNK))
    lock, begun, count = threading.Lock(), time.monotonic(), itertools.count(1)

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                chunk = waiting.popleft()
            for report in _examine(chunk, program, waiting, lock):
                with lock:
                    keep(report)
                    _progress(next(count), len(names), begun, report)

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(file=sys.stderr)


def _examine(chunk, program, waiting, lock):
    command = [sys.executable, program, "transformers", "--worker", *chunk]
    left = list(chunk)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("{"):
                report = json.loads(line)
                left.remove(report["model_type"])
                yield report
    if left:
        yield {
            "model_type": left[0], "architecture": "", "result": "unbuilt", "checked": [],
            "said": f"its process ended with {process.returncode}", "calls": 0, "unsure": 0,
            "worst": 0.0, "seconds": 0.0,
        }  # fmt: skip
        with lock:
            if left[1:]:
                waiting.append(left[1:])


def _progress(count, total, begun, report):
    passed = time.monotonic() - begun
    rest = passed / count * (total - count)
    text = f"{count}/{total}  {passed / 60:.0f} min, {rest / 60:.0f} to go  {report['model_type']}"
    print(f"\r{text:70}", end="", file=sys.stderr, flush=True)
