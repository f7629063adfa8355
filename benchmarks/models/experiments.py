# SPDX-License-Identifier: Apache-2.0
"""What is trained, on what, and what is counted. Each experiment writes JSON files to the work
folder."""

import json
import math

from program import kept, regard, train, translate
from scores import bleu, bleu_by_length, first_sentence, rouge

_LUONG = {
    "dot": ["--luong-score", "dot"],
    "general": ["--luong-score", "general"],
    "concat": ["--luong-score", "concat"],
    "location": ["--luong-score", "location"],
    "local-m": ["--luong-score", "general", "--luong-reach", "local-m"],
    "local-p": ["--luong-score", "general", "--luong-reach", "local-p"],
}


def _recurrent(options, *flags):
    return ["--dim", options.dim, "--vocabulary-size", 8000, "--batch-tokens", 2500, *flags]


def _transformer():
    flags = ["--model", "transformer", "--vocabulary-size", 8000, "--batch-tokens", 4000]
    return [*flags, "--warmup", 1500, "--learning-rate", 0.0015]


def _test(options, texts, folder, *flags, task="translate"):
    sources = texts.lines("test", "source")
    return sources, translate(options, folder, sources, *flags, task=task)


def _measured(options, texts, name, flags):
    """Trains one model and counts on the test part."""
    folder = options.work / f"{texts.name}-{name}"

    def make():
        said = train(options, texts, folder, flags)
        sources, found = _test(options, texts, folder)
        references = texts.lines("test", "target")
        said |= {"bleu": bleu(found, references), "perplexity": math.exp(said["best_nll"])}
        return {
            "texts": texts.name,
            "model": name,
            "lengths": bleu_by_length(sources, found, references),
            **said,
        }

    result = kept(options.work / f"{texts.name}-{name}.json", make)
    print(f"{texts.name} {name}: BLEU {result['bleu']:.1f}", flush=True)
    return result


def lengths(options, sets):
    """One vector against additive attention, by the source's length."""
    for texts in (sets.get("multi30k"), sets["paragraphs"]):
        if texts is not None:
            for model in ("fixed", "bahdanau"):
                _measured(options, texts, model, _recurrent(options, "--model", model))


def luong(options, sets):
    """Luong's table."""
    texts = sets.get("multi30k", sets["paragraphs"])
    for name, flags in _LUONG.items():
        for feeding in (False, True):
            more = [] if feeding else ["--no-input-feeding"]
            flags_ = _recurrent(options, "--model", "luong", *flags, *more)
            _measured(options, texts, f"luong-{name}{'-feeding' if feeding else ''}", flags_)


def time(options, sets):
    """BLEU over training time: each model stops a few times, translates, and goes on."""
    texts = sets.get("multi30k", sets["paragraphs"])
    whole = options.minutes or 60
    models = {
        "fixed": _recurrent(options, "--model", "fixed"),
        "bahdanau": _recurrent(options, "--model", "bahdanau"),
        "transformer": _transformer(),
    }
    references = texts.lines("test", "target")
    for name, flags in models.items():
        folder = options.work / f"time-{name}"
        for part in range(1, 7):
            minutes = whole * part / 6

            def make(folder=folder, flags=flags, minutes=minutes, name=name):
                said = train(options, texts, folder, flags, minutes=minutes)
                _, found = _test(options, texts, folder)
                score = bleu(found, references)
                return {
                    "texts": texts.name,
                    "model": name,
                    "minutes": minutes,
                    "bleu": score,
                } | said

            result = kept(options.work / f"time-{name}-{part}.json", make)
            print(f"{name} {minutes:.1f} min: BLEU {result['bleu']:.1f}", flush=True)


_PICTURED = [
    "library for reading and writing image files",
    "This package contains the documentation for the Python 3 interface of version 2.4.",
    "tool to convert PDF documents to plain text",
    "The server listens on port 8080 and can be configured in the file /etc/default/server.",
]


def _is_anchor(word, source, target):
    """A number or name that stands once on both sides: what it should look at is known."""
    spelled = any(c.isdigit() for c in word) or (word[:1].isupper() and len(word) > 3)
    return spelled and source.count(word) == 1 and target.count(word) == 1


def alignments(options, sets):
    """Four pictures, and how much weight a name or number in the translation puts on itself in the
    source."""
    texts = sets["debian"]
    _measured(options, texts, "bahdanau", _recurrent(options, "--model", "bahdanau"))
    folder = options.work / "debian-bahdanau"
    for number, source in enumerate(_PICTURED, 1):
        regard("align", folder, "--source", source, "--out", options.work / f"align-{number}.png")

    def make():
        shares, hits = [], 0
        sources = texts.lines("test", "source")
        likely = [s for s in sources if len(s.split()) <= 40 and any(c.isdigit() for c in s)]
        for source in likely[:150]:
            said = json.loads(regard("align", folder, "--source", source, "--json"))
            for row, word in enumerate(said["target"]):
                if _is_anchor(word, said["source"], said["target"]):
                    weights = said["weights"][row]
                    place = said["source"].index(word)
                    shares.append(weights[place])
                    hits += weights[place] == max(weights)
        count = max(1, len(shares))
        return {"words": len(shares), "share": sum(shares) / count, "first": hits / count}

    print(kept(options.work / "anchors.json", make), flush=True)


def summaries(options, sets):
    """Long descriptions to their short lines."""
    texts = sets["summaries"]
    references = texts.lines("test", "target")
    models = {name: _recurrent(options, "--model", name) for name in ("fixed", "bahdanau")}

    def lead():
        found = [first_sentence(text) for text in texts.lines("test", "source")]
        return {"model": "first sentence", **rouge(found, references)}

    print(kept(options.work / "summaries-first.json", lead), flush=True)
    for name, flags in models.items():
        folder = options.work / f"summaries-{name}"

        def make(folder=folder, flags=flags, name=name):
            said = train(options, texts, folder, flags, task="summarise")
            _, found = _test(options, texts, folder, task="summarise")
            return {"model": name, **said, **rouge(found, references)}

        print(kept(options.work / f"summaries-{name}.json", make), flush=True)


EXPERIMENTS = {
    "lengths": lengths,
    "luong": luong,
    "time": time,
    "alignments": alignments,
    "summaries": summaries,
}
