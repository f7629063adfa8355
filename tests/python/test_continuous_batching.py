# SPDX-License-Identifier: Apache-2.0
"""Continuous batching (generate_batch) through Regard: each request's tokens are those that eager
gives it alone."""

import warnings

import pytest

pytest.importorskip("transformers")

import regard.transformers as door
import tiny_models
import torch
from regard import flash_attn
from regard._hf import continuous
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

PROMPTS = [5, 1, 23, 40, 9]
NEW = 8


def _requests():
    return [torch.randint(3, 60, (n,)).tolist() for n in PROMPTS]


def _alone(model, prompts):
    """Greedy decoding of one request at a time, without a cache of pages."""
    options = dict(max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0)
    found = []
    for prompt in prompts:
        out = model.generate(torch.tensor([prompt]), **options)
        found.append(out[0, len(prompt) :].tolist())
    return found


def _batched(model, prompts, **options):
    generation = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    config = ContinuousBatchingConfig(page_size=16, num_blocks=64, max_batch_tokens=32, **options)
    results = model.generate_batch(
        prompts, generation_config=generation, continuous_batching_config=config,
        progress_bar=False,
    )  # fmt: skip
    found = sorted(results.items(), key=lambda item: int(item[0].rsplit("_", 1)[-1]))
    return [each.generated_tokens for _, each in found]


@pytest.fixture(params=[False, True], ids=["", "flash_attn installed"])
def beside_flash_attn(request):
    if request.param:
        flash_attn.install()
    yield
    if request.param:
        flash_attn.uninstall()


@pytest.fixture
def steps(monkeypatch):
    """How often each way was taken."""
    counts = {"one_token_each": 0, "packed": 0}

    def counted(name, real):
        def call(*args, **kwargs):
            counts[name] += 1
            return real(*args, **kwargs)

        return call

    for name, attribute in (("one_token_each", "_one_token_each"), ("packed", "packed")):
        monkeypatch.setattr(continuous, attribute, counted(name, getattr(continuous, attribute)))
    return counts


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("llama", "regard"), ("llama", "paged|regard"), ("mistral", "regard"),
        ("gemma2", "paged|regard"), ("gpt_oss", "regard"),
    ],
)  # fmt: skip
def test_as_alone(name, told, beside_flash_attn, steps):
    eager, ours = tiny_models.twins(getattr(tiny_models, name), torch.float32)
    eager, ours = eager.eval(), ours.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers says that the prefix is not needed
        ours.set_attn_implementation(told)
    prompts = _requests()
    expected = _alone(eager, prompts)
    assert _batched(ours, prompts) == expected
    assert ours.config._attn_implementation == "regard"
    assert steps["packed"] > 0
    assert (steps["one_token_each"] > 0) == (name == "llama")  # windows have no table of pages


def test_what_is_not_served_beside_it_is_refused():
    attention = tiny_models.llama().model.layers[0].self_attn
    pages = object.__new__(continuous.PagedAttentionCache)
    inputs = [torch.randn(1, 4, 3, 8) for _ in range(3)]
    bias = torch.zeros(1, 4, 3, 3)
    with pytest.raises(NotImplementedError, match="position_bias beside continuous batching"):
        door.regard_attention(attention, *inputs, None, cache=pages, position_bias=bias)
    with pytest.raises(NotImplementedError, match="another kind than continuous batching"):
        door.regard_attention(attention, *inputs, None, cache=object())
