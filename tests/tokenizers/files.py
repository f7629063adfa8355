# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every kind, small, trained here by the `tokenizers` library, and texts that are
meant to find differences."""

import random
import sys
import unicodedata
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus():
    """Lines of English with some of everything: this repository's pages and a few words more."""
    root = Path(__file__).resolve().parent.parent.parent
    lines = [
        line
        for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]
        for line in path.read_text().splitlines()
    ]
    more = [
        "Größe, Maß und Übermut",
        "naïve café déjà vu",
        "中文和日本語のテキスト",
        "Привет, мир! 12345",
    ]
    return lines + more * 20


def byte_level_bpe(add_prefix_space=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def roberta():
    tokenizer = byte_level_bpe(add_prefix_space=True)
    tokenizer.add_special_tokens(
        ["<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True, normalized=False)]
    )
    ids = tokenizer.token_to_id
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ids("</s>")), ("<s>", ids("<s>")), trim_offsets=True, add_prefix_space=True
    )
    return tokenizer


def llama3():
    """A regular expression of its own, and whole words that skip the merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|begin_of_text|>", "<|eot_id|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    begin = ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{begin[0]} $A",
                pair=f"{begin[0]} $A {begin[0]}:1 $B:1",
                special_tokens=[begin],
            ),
        ]
    )
    return tokenizer


def digits():
    """As SmolLM2: digits one by one."""
    tokenizer = byte_level_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def llama2():
    """SentencePiece's BPE as transformers converts it: bytes for what is not in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False)
    words = [word for line in corpus() for word in line.split()]
    tokenizer.train_from_iterator(words, trainer)
    tokenizer = Tokenizer.from_str(_only_special(tokenizer.to_str(), {"<unk>", "<s>", "</s>"}))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A",
        pair="<s> $A <s>:1 $B:1",
        special_tokens=[("<s>", tokenizer.token_to_id("<s>"))],
    )
    return tokenizer


def _only_special(text, names):
    import json

    settings = json.loads(text)
    settings["added_tokens"] = [t for t in settings["added_tokens"] if t["content"] in names]
    return json.dumps(settings)


def word_piece(lowercase=True, strip_accents=None):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=50))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken("ünïque", single_word=True), "lowercased Token"])
    ids = tokenizer.token_to_id
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", ids("[SEP]")), ("[CLS]", ids("[CLS]"))
    )
    return tokenizer


def unigram(byte_fallback=False):
    """As T5 and XLM-RoBERTa, with normalizers that SentencePiece's own would be."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(left=False, right=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<pad>", "</s>", "<unk>"]
    if byte_fallback:
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.UnigramTrainer(
        vocab_size=900, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>",
        pair="$A </s> $B </s>",
        special_tokens=[("</s>", tokenizer.token_to_id("</s>"))],
    )
    return tokenizer


def clip():
    """CLIP's BPE: lower case, a mark at a word's end, unknown text fused or not."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous")]
    )
    tokenizer.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def whole_words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=500, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


KINDS = {
    "byte_level_bpe": byte_level_bpe,
    "roberta": roberta,
    "llama3": llama3,
    "digits": digits,
    "llama2": llama2,
    "word_piece": word_piece,
    "word_piece_cased": lambda: word_piece(lowercase=False),
    "word_piece_accents": lambda: word_piece(strip_accents=False),
    "unigram": unigram,
    "unigram_bytes": lambda: unigram(byte_fallback=True),
    "clip": clip,
    "whole_words": whole_words,
}

HOSTILE = [
    "",
    " ",
    "   leading and trailing   ",
    "\t\n\r\x0b\x0c\x1c\x1d\x85\u2028\u2029\u00a0\u3000 mixed\u2009blanks",
    "it's we'll I'd they've you're 'S 'T don't",
    "emoji 😀👍🏽👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪🇫🇷 end",
    "e\u0301 n\u0303 A\u030a \u1e9b\u0323 한글 각",  # decomposed
    "\u0000\u0001\u0007\u001b[31m\u007f\u0080\u009f\ufeff\ufffd\u200b\u200d\u00ad",
    "ﬁ ﬂ ½ ² ③ Ⅷ ㎏ ＡＢＣ １２３ ﾊﾝｶｸ",  # compatibility forms
    "İstanbul ΑΣΣ ς ß ẞ Ǆ ŉ",
    "عربي שלום हिन्दी ไทย မြန်မာ",
    "[CLS] [MASK] <mask>  <mask> <s></s> <|endoftext|><|im_start|>user\n<|im_end|>[UNK]<unk>",
    "ünïque ünïques xünïque lowercased Token LOWERCASED TOKEN",
    "<0x41> <0xFF> ▁ ▁▁ ##ing Ġ Ċ",
    "a" * 300,
    "ab" * 5000,
    " " * 3000 + "x" + "\n" * 500,
    "9" * 1000 + ".5e-10 1,234,567.89 ٣٤٥ 二三",
    "!" * 500 + "?!…—–‘’“”«»¿¡",
    "\U0001d54f\U00010348\U0010ffff\ue000 beyond the first plane",
]


def random_texts(count, seed=1):
    """Texts from many alphabets, blanks and controls; some of them longer."""
    draw = random.Random(seed)
    ranges = [
        (0x20, 0x7E),
        (0x20, 0x7E),
        (0x61, 0x7A),
        (0x30, 0x39),
        (0x00, 0x1F),
        (0xA0, 0x24F),
        (0x300, 0x36F),
        (0x370, 0x3FF),
        (0x400, 0x4FF),
        (0x590, 0x6FF),
        (0x900, 0x97F),
        (0x1100, 0x11FF),
        (0x2000, 0x206F),
        (0x2070, 0x218F),
        (0x3040, 0x30FF),
        (0x4E00, 0x9FA5),
        (0xAC00, 0xD7A3),
        (0xFB00, 0xFDFF),
        (0xFF00, 0xFFEF),
        (0x1F300, 0x1F64F),
        (0x10000, 0x1FFFF),
    ]
    words = " ".join(corpus()).split()

    def character():
        while True:
            c = chr(draw.randint(*draw.choice(ranges)))
            if unicodedata.category(c) not in ("Cs", "Cn"):
                return c

    texts = []
    for _ in range(count):
        kind = draw.random()
        if kind < 0.4:
            texts.append("".join(character() for _ in range(draw.randint(0, 40))))
        elif kind < 0.8:
            some = [draw.choice(words) for _ in range(draw.randint(0, 12))]
            some.insert(draw.randint(0, len(some)), character() * draw.randint(1, 5))
            texts.append(draw.choice([" ", "  ", "\n", ""]).join(some))
        else:
            lows = "abcdef '.,!?-0123\n\t"
            texts.append("".join(draw.choice(lows) for _ in range(draw.randint(0, 120))))
    return texts


def every_character():
    """Every assigned character, between two letters, sixteen to a text; of the long runs of
    ideographs, syllables and private use, whose members are alike, the first and the last few."""
    alike = [(0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0x17000, 0x18CD5)]
    alike += [(0x20000, 0x2F7FF), (0x2FA1E, 0x10FFFF)]

    def taken(c):
        inside = any(first + 16 < c < last - 16 for first, last in alike)
        return not inside and unicodedata.category(chr(c)) not in ("Cs", "Cn")

    characters = [chr(c) for c in range(sys.maxunicode + 1) if taken(c)]
    return [
        " ".join(f"a{c}b" for c in characters[i : i + 16]) for i in range(0, len(characters), 16)
    ]


if __name__ == "__main__":  # writes one of them: python files.py KIND FILE
    KINDS[sys.argv[1]]().save(sys.argv[2])
