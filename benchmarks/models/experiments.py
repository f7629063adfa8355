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
    size = ["--dim", options.dim, "--vocabulary-size", options.pieces]
    steps = ["--batch-tokens", 1500, "--learning-rate", 0.002, "--warmup", 300]
    return [*size, *steps, *flags]


def _transformer(options):
    size = ["--model", "transformer", "--vocabulary-size", options.pieces]
    return [*size, "--batch-tokens", 2000, "--learning-rate", 0.002, "--warmup", 400]


def _flags(options, name):
    return _transformer(options) if name == "transformer" else _recurrent(options, "--model", name)


def _grow(options, texts, flags_of, parts=None):
    """Trains models, each a part of the way in its turn: every model stops a few times, translates
    the test part, and goes on from its checkpoint. So that whenever this is interrupted, there are
    points of all of them to compare."""
    parts = parts or options.parts
    sources, references = (texts.lines("test", side) for side in ("source", "target"))
    for part in range(1, parts + 1):
        for name, flags in flags_of.items():
            folder = options.work / f"{texts.name}-{name}"

            def make(folder=folder, flags=flags, name=name, part=part):
                said = train(options, texts, folder, flags, part / parts)
                found = translate(options, folder, sources)
                return {
                    **said,
                    "texts": texts.name,
                    "model": name,
                    "epochs": options.epochs * part / parts,
                    "bleu": bleu(found, references),
                    "perplexity": math.exp(said["best_nll"]),
                    "lengths": bleu_by_length(sources, found, references),
                }

            result = kept(options.work / f"{texts.name}-{name}-{part}.json", make)
            print(
                f"{texts.name} {name}: {result['epochs']:.1f} epochs,"
                f" {result['processor_seconds'] / 60:.1f} processor minutes,"
                f" BLEU {result['bleu']:.1f}",
                flush=True,
            )


def race(options, sets):
    """One vector, additive attention and the Transformer: BLEU over training time."""
    texts = sets.get("multi30k", sets["paragraphs"])
    names = ["bahdanau", "fixed", "transformer"]
    _grow(options, texts, {name: _flags(options, name) for name in names})


def paragraphs(options, sets):
    """One vector against additive attention on long sentences."""
    flags = {name: _flags(options, name) for name in ("bahdanau", "fixed")}
    _grow(options, sets["paragraphs"], flags)


def luong(options, sets):
    """Luong's table."""
    flags = {}
    for name, score in _LUONG.items():
        for feeding in (True, False):
            more = [] if feeding else ["--no-input-feeding"]
            flags[f"luong-{name}{'-feeding' if feeding else ''}"] = _recurrent(
                options, "--model", "luong", *score, *more
            )
    _grow(options, sets.get("multi30k", sets["paragraphs"]), flags, parts=1)


_PICTURED = {
    "multi30k": [
        "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster.",
        "Zwei junge Frauen spielen Volleyball im Sand am Strand.",
        "Ein kleines Mädchen mit rosa T-Shirt fährt auf einem Fahrrad durch den Park.",
        "Drei Hunde rennen im Schnee einem roten Ball hinterher.",
    ],
    "paragraphs": [
        "library for reading and writing image files",
        "This package contains the documentation for the Python 3 interface of version 2.4.",
        "tool to convert PDF documents to plain text",
        "The server listens on port 8080 and can be configured in the file /etc/default/server.",
    ],
}


def _anchors(sources, targets):
    """Pairs of places, (target, source), of numbers and cognates: words that are spelled alike and
    stand once on both sides, so that what to look at is known."""
    sources, targets = (
        [word.lower().strip(".,:;!?\"'()") for word in words] for words in (sources, targets)
    )
    for row, word in enumerate(targets):
        telling = any(c.isdigit() for c in word) or (word.isalpha() and len(word) > 3)
        if telling and sources.count(word) == 1 and targets.count(word) == 1:
            yield row, sources.index(word)


def alignments(options, sets):
    """Four pictures, and how much weight numbers and cognates put on themselves in the source."""
    texts = sets.get("multi30k", sets["paragraphs"])
    folder = options.work / f"{texts.name}-bahdanau"
    if not (folder / "model.safetensors").exists():
        (race if texts.name == "multi30k" else paragraphs)(options, sets)
    for number, source in enumerate(_PICTURED[texts.name], 1):
        regard("align", folder, "--source", source, "--out", options.work / f"align-{number}.png")

    def make():
        shares, hits, sentences = [], 0, 0
        for source in texts.lines("test", "source")[:100]:
            said = json.loads(regard("align", folder, "--source", source, "--json"))
            sentences += 1
            for row, place in _anchors(said["source"], said["target"]):
                weights = said["weights"][row]
                shares.append(weights[place])
                hits += weights[place] == max(weights)
        count = max(1, len(shares))
        return {
            "texts": texts.name,
            "sentences": sentences,
            "words": len(shares),
            "share": sum(shares) / count,
            "first": hits / count,
        }

    print(kept(options.work / "anchors.json", make), flush=True)


def summaries(options, sets):
    """Long descriptions to their short lines."""
    texts = sets["summaries"]
    sources, references = (texts.lines("test", side) for side in ("source", "target"))

    def lead():
        found = [first_sentence(text) for text in sources]
        return {"model": "first sentence", **rouge(found, references)}

    print(kept(options.work / "summaries-first.json", lead), flush=True)
    for name in ("bahdanau", "fixed"):
        folder = options.work / f"summaries-{name}"

        def make(folder=folder, name=name):
            said = train(options, texts, folder, _flags(options, name), task="summarise")
            found = translate(options, folder, sources, task="summarise")
            return {**said, "model": name, "epochs": options.epochs, **rouge(found, references)}

        print(kept(options.work / f"summaries-{name}.json", make), flush=True)


EXPERIMENTS = {
    "race": race,
    "paragraphs": paragraphs,
    "alignments": alignments,
    "summaries": summaries,
    "luong": luong,
}
