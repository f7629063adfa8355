# SPDX-License-Identifier: Apache-2.0
"""Language models for the command line's tests: a tiny one with random weights, and SmolLM2."""

import functools
import sys

import torch
from conftest import ROOT, regard
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.append(str(ROOT / "examples/demo"))
from weights import language_model_file, load_language_model, load_tokenizer

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = "The quick brown fox jumps over the lazy dog. Grüße, naïve café, 日本語 and 😀 emoji! "


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=CHATML
    )


def make_model(folder, tokenizer=None, **config):
    """A folder as transformers saves it."""
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": 0,
        "tie_word_embeddings": True,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **config})).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@functools.cache
def smollm2():
    """(file, transformers' model, its tokenizer)."""
    return language_model_file(), load_language_model("sdpa"), load_tokenizer()


@torch.inference_mode()
def greedy(model, ids, tokens):
    """What transformers writes, as ids, without an end token."""
    torch.set_num_threads(1)  # steps are small: threads that wait for each other bring nothing
    ids = torch.tensor([ids])
    found = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )[0, ids.shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return found[:-1] if found and found[-1] in ends else found


def chat_ids(tokenizer, messages):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text).input_ids


__all__ = ["chat_ids", "greedy", "make_model", "regard", "smollm2"]
