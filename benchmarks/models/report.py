# SPDX-License-Identifier: Apache-2.0
"""docs/models.md: tables between its markers, and pictures beside it, from the results that there
are."""

import json
import platform
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from program import ROOT

PAGE = ROOT / "docs/models.md"
IMAGES = ROOT / "docs/images"


def _read(work, pattern):
    return [json.loads(path.read_text()) for path in sorted(work.glob(pattern))]


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def _table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def _training(result):
    minutes = result["seconds"] / 60
    return [f"{result['parameters'] / 1e6:.1f} M", f"{minutes:.0f}", result["steps"]]


def _figure(name, title, x, y, series):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for label, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=110)
    pyplot.close(figure)


def _lengths(work):
    parts = []
    for texts, title in (("multi30k", "Multi30k, de to en"), ("paragraphs", "Debian, en to de")):
        results = {
            name: path
            for name in ("fixed", "bahdanau")
            if (path := work / f"{texts}-{name}.json").exists()
        }
        if len(results) < 2:
            continue
        fixed, additive = (json.loads(path.read_text()) for path in results.values())
        rows = [
            [f"{a['from']} to {a['to']}", a["sentences"], f"{a['bleu']:.1f}", f"{b['bleu']:.1f}"]
            for a, b in zip(fixed["lengths"], additive["lengths"], strict=True)
        ]
        rows.append(["all", "", f"{fixed['bleu']:.1f}", f"{additive['bleu']:.1f}"])
        head = ["source words", "sentences", "one vector", "additive attention"]
        sizes = [
            [name, *_training(r)] for name, r in (("one vector", fixed), ("additive", additive))
        ]
        name = f"models-lengths-{texts}.png"
        series = {
            label: [(a["from"], a["bleu"]) for a in result["lengths"]]
            for label, result in (("one vector", fixed), ("additive attention", additive))
        }
        _figure(name, title, "words of the source, at least", "BLEU", series)
        parts += [
            f"**{title}**",
            _table(head, rows),
            _table(["model", "parameters", "minutes", "steps"], sizes),
            f"![BLEU by length, {title}](images/{name})",
        ]
    return parts


def _luong(work):
    rows = [
        [r["model"], f"{r['perplexity']:.2f}", f"{r['bleu']:.1f}", *_training(r)]
        for r in _read(work, "*-luong-*.json")
    ]
    head = ["model", "perplexity (valid)", "BLEU", "parameters", "minutes", "steps"]
    return [_table(head, rows)] if rows else []


def _time(work):
    series = {}
    for result in _read(work, "time-*-*.json"):
        series.setdefault(result["model"], []).append((result["minutes"], result["bleu"]))
    if not series:
        return []
    for points in series.values():
        points.sort()
    _figure("models-time.png", "BLEU over training time", "minutes", "BLEU", series)
    times = sorted({minutes for points in series.values() for minutes, _ in points})
    rows = [
        [name, *(f"{dict(points)[t]:.1f}" if t in dict(points) else "" for t in times)]
        for name, points in series.items()
    ]
    head = ["model", *(f"{t:.1f} min" for t in times)]
    return [_table(head, rows), "![BLEU over training time](images/models-time.png)"]


def _alignments(work):
    parts = []
    if (work / "anchors.json").exists():
        said = json.loads((work / "anchors.json").read_text())
        parts.append(
            f"Of {said['words']} names and numbers that stand once in a source and once in its"
            " translation (Debian's test texts), each puts"
            f" {100 * said['share']:.0f}% of its weight on itself on average, and looks at itself"
            f" most in {100 * said['first']:.0f}%."
        )
    for number, path in enumerate(sorted(work.glob("align-*.png")), 1):
        shutil.copy(path, IMAGES / f"models-align-{number}.png")
        parts.append(f"![Alignment {number}](images/models-align-{number}.png)")
    return parts


def _summaries(work):
    rows = []
    for r in _read(work, "summaries-*.json"):
        scores = [f"{r[kind]:.1f}" for kind in ("rouge1", "rouge2", "rougeL")]
        rows.append([r["model"], *scores, *(_training(r) if "steps" in r else ["", "", ""])])
    head = ["model", "ROUGE-1", "ROUGE-2", "ROUGE-L", "parameters", "minutes", "steps"]
    return [_table(head, rows)] if rows else []


SECTIONS = {
    "lengths": _lengths,
    "luong": _luong,
    "time": _time,
    "alignments": _alignments,
    "summaries": _summaries,
}


def write(work):
    """Replaces what stands between a section's markers, where there are results."""
    IMAGES.mkdir(exist_ok=True)
    text = PAGE.read_text()
    stamp = f"{_processor()}, {datetime.now(UTC):%Y-%m-%d}, `benchmarks/models/main.py`."
    for name, make in SECTIONS.items():
        parts = make(work)
        if not parts:
            continue
        body = "\n\n".join([f"Measured on {stamp}", *parts])
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text, count = re.subn(
            pattern, lambda m, body=body: f"{m[1]}{body}\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"{PAGE} has no markers for {name}")
    PAGE.write_text(text)
    print(PAGE)
