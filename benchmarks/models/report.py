# SPDX-License-Identifier: Apache-2.0
"""docs/models.md: tables between its markers, and pictures beside it, from the results that there
are."""

import json
import platform
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import report_language
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


_NAMES = {"fixed": "one vector", "bahdanau": "additive attention", "transformer": "Transformer"}
_TRAINED = ["parameters", "epochs", "steps", "processor minutes"]


def _training(result):
    return [
        f"{result['parameters'] / 1e6:.1f} M",
        f"{result['epochs']:.0f}",
        result["steps"],
        f"{result['processor_seconds'] / 60:.0f}",
    ]


def _points(work, texts, name):
    """What was counted on the way of a training, in its order."""
    return sorted(_read(work, f"{texts}-{name}-[0-9]*.json"), key=lambda point: point["epochs"])


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
        both = [_points(work, texts, name) for name in ("fixed", "bahdanau")]
        common = min(map(len, both))  # a training that was interrupted may be ahead of the other
        if common == 0:
            continue
        fixed, additive = (points[common - 1] for points in both)
        rows = [
            [f"{a['from']} to {a['to']}", a["sentences"], f"{a['bleu']:.1f}", f"{b['bleu']:.1f}"]
            for a, b in zip(fixed["lengths"], additive["lengths"], strict=True)
        ]
        rows.append(["all", "", f"{fixed['bleu']:.1f}", f"{additive['bleu']:.1f}"])
        head = ["source words", "sentences", "one vector", "additive attention"]
        sizes = [[_NAMES[r["model"]], *_training(r)] for r in (fixed, additive)]
        name = f"models-lengths-{texts}.png"
        series = {
            _NAMES[result["model"]]: [(a["from"], a["bleu"]) for a in result["lengths"]]
            for result in (fixed, additive)
        }
        _figure(name, title, "words of the source, at least", "BLEU", series)
        parts += [
            f"**{title}**",
            _table(head, rows),
            _table(["model", *_TRAINED], sizes),
            f"![BLEU by length, {title}](images/{name})",
        ]
    return parts


def _luong(work):
    rows = [
        [r["model"], f"{r['perplexity']:.2f}", f"{r['bleu']:.1f}", *_training(r)]
        for r in _read(work, "*-luong-*.json")
    ]
    return [_table(["model", "perplexity (valid)", "BLEU", *_TRAINED], rows)] if rows else []


def _race(work):
    texts = "multi30k" if _points(work, "multi30k", "bahdanau") else "paragraphs"
    points = {name: _points(work, texts, name) for name in _NAMES}
    rows = [
        [
            _NAMES[name],
            f"{p['epochs']:.0f}",
            f"{p['processor_seconds'] / 60:.1f}",
            f"{p['perplexity']:.2f}",
            f"{p['bleu']:.1f}",
            f"{p['parameters'] / 1e6:.1f} M",
        ]
        for name, found in points.items()
        for p in found
    ]
    if not rows:
        return []
    series = {
        _NAMES[name]: [(p["processor_seconds"] / 60, p["bleu"]) for p in found]
        for name, found in points.items()
        if found
    }
    _figure("models-race.png", "BLEU over training time", "processor minutes", "BLEU", series)
    head = ["model", "epochs", "processor minutes", "perplexity (valid)", "BLEU", "parameters"]
    return [_table(head, rows), "![BLEU over training time](images/models-race.png)"]


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
        rows.append(
            [r["model"], *scores, *(_training(r) if "steps" in r else [""] * len(_TRAINED))]
        )
    head = ["model", "ROUGE-1", "ROUGE-2", "ROUGE-L", *_TRAINED]
    return [_table(head, rows)] if rows else []


SECTIONS = {
    "lengths": _lengths,
    "race": _race,
    "luong": _luong,
    "alignments": _alignments,
    "summaries": _summaries,
    **{
        name: lambda work, make=make: make(work, _table)
        for name, make in report_language.SECTIONS.items()
    },
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
