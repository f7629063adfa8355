# SPDX-License-Identifier: Apache-2.0
"""The sections of docs/models.md on sequence models, and all its sections that main.py writes, from
the results that there are. A section's function gives its parts and the results that they show."""

import json
import shutil

import report_language
from page import IMAGES, measured, table, write_section


def _read(work, pattern):
    return [json.loads(path.read_text()) for path in sorted(work.glob(pattern))]


_NAMES = {"fixed": "one vector", "bahdanau": "additive attention", "transformer": "Transformer"}
_TRAINED = ["parameters", "epochs", "steps", "processor minutes"]


def _training(result):
    return [
        f"{result['parameters'] / 1e6:.1f} M",
        f"{result['epochs']:g}",
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
    axes.legend(loc="lower right" if "time" in title else "best")
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=110)
    pyplot.close(figure)


def _lengths(work):
    parts, shown = [], []
    for texts, title in (("multi30k", "Multi30k, de to en"), ("paragraphs", "Debian, en to de")):
        both = [_points(work, texts, name) for name in ("fixed", "bahdanau")]
        common = min(map(len, both))  # a training that was interrupted may be ahead of the other
        if common == 0:
            continue
        fixed, additive = (points[common - 1] for points in both)
        shown += [fixed, additive]
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
            table(head, rows),
            table(["model", *_TRAINED], sizes),
            f"![BLEU by length, {title}](images/{name})",
        ]
    return parts, shown


def _luong(work):
    results = _read(work, "*-luong-*.json")
    rows = [
        [r["model"], f"{r['perplexity']:.2f}", f"{r['bleu']:.1f}", *_training(r)] for r in results
    ]
    head = ["model", "perplexity (valid)", "BLEU", *_TRAINED]
    return ([table(head, rows)] if rows else []), results


def _race(work):
    texts = "multi30k" if _points(work, "multi30k", "bahdanau") else "paragraphs"
    points = {name: _points(work, texts, name) for name in _NAMES}
    rows = [
        [
            _NAMES[name],
            f"{p['epochs']:g}",
            f"{p['processor_seconds'] / 60:.1f}",
            f"{p['perplexity']:.2f}",
            f"{p['bleu']:.1f}",
            f"{p['parameters'] / 1e6:.1f} M",
        ]
        for name, found in points.items()
        for p in found
    ]
    if not rows:
        return [], []
    series = {
        _NAMES[name]: [(p["processor_seconds"] / 60, p["bleu"]) for p in found]
        for name, found in points.items()
        if found
    }
    _figure("models-race.png", "BLEU over training time", "processor minutes", "BLEU", series)
    head = ["model", "epochs", "processor minutes", "perplexity (valid)", "BLEU", "parameters"]
    picture = "![BLEU over training time](images/models-race.png)"
    return [table(head, rows), picture], [p for found in points.values() for p in found]


def _alignments(work):
    parts, results = [], _read(work, "anchors.json")
    for said in results:
        parts.append(
            f"In {said['sentences']} sentences of {said['texts']}'s test part, {said['words']}"
            " words of the translations are numbers or cognates: spelled as a word of the source,"
            f" once on both sides. On average each puts {100 * said['share']:.0f} % of its weight"
            f" on that word; {100 * said['first']:.0f} % look at it most."
        )
    for number, path in enumerate(sorted(work.glob("align-*.png")), 1):
        shutil.copy(path, IMAGES / f"models-align-{number}.png")
        parts.append(f"![Alignment {number}](images/models-align-{number}.png)")
    return (parts if results else []), results


def _summaries(work):
    rows, results = [], _read(work, "summaries-*.json")
    for r in results:
        scores = [f"{r[kind]:.1f}" for kind in ("rouge1", "rouge2", "rougeL")]
        rows.append(
            [r["model"], *scores, *(_training(r) if "steps" in r else [""] * len(_TRAINED))]
        )
    head = ["model", "ROUGE-1", "ROUGE-2", "ROUGE-L", *_TRAINED]
    return ([table(head, rows)] if rows else []), results


SECTIONS = {
    "lengths": _lengths,
    "race": _race,
    "luong": _luong,
    "alignments": _alignments,
    "summaries": _summaries,
    **report_language.SECTIONS,
}


def write(work):
    """Replaces what stands between a section's markers, where there are results."""
    IMAGES.mkdir(exist_ok=True)
    for name, make in SECTIONS.items():
        parts, results = make(work)
        if parts:
            write_section(name, [measured(results), *parts])
            print(name)
