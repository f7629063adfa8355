# SPDX-License-Identifier: Apache-2.0
"""Counts: BLEU (sacrebleu, lower-cased) over all and by the source's length; ROUGE."""

from itertools import pairwise

import sacrebleu

EDGES = [0, 10, 15, 20, 30, 40, 60, 10_000]  # words of a source: each up to the next one


def bleu(found, references):
    return sacrebleu.corpus_bleu(found, [references], lowercase=True).score


def bleu_by_length(sources, found, references):
    """[{from, to, sentences, bleu}] of ranges of source words that have at least 20 sentences."""
    rows = []
    for low, high in pairwise(EDGES):
        chosen = [i for i, text in enumerate(sources) if low < len(text.split()) <= high]
        if len(chosen) < 20:
            continue
        score = bleu([found[i] for i in chosen], [references[i] for i in chosen])
        rows.append({"from": low + 1, "to": high, "sentences": len(chosen), "bleu": score})
    return rows


def rouge(found, references):
    """Mean F of ROUGE-1, -2 and -L, with stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=True)
    scores = [scorer.score(b, a) for a, b in zip(found, references, strict=True)]
    return {kind: sum(s[kind].fmeasure for s in scores) / len(scores) * 100 for kind in kinds}


def first_sentence(text):
    """What a summary has to beat: a text's first sentence."""
    for end in (". ", "! ", "? ", ": "):
        text = text.split(end)[0]
    return text.rstrip(".")
