# SPDX-License-Identifier: Apache-2.0
"""attn_implementation="regard" beside "eager", on tiny models with random weights: outputs,
gradients, padded batches, generate."""

import oracle
import pytest
import regard
import torch

transformers = pytest.importorskip("transformers")

import regard.transformers  # noqa: E402
from regard._hf import masks as hf_masks  # noqa: E402
from regard.transformers import regard_attention  # noqa: E402
from tiny_models import CASES, cast, ids, llama, meaningful, result, twins, whisper  # noqa: E402

# The models run in float64, but eager takes several models' softmax in float32: that is the
# difference allowed. (Where whole rows are padding, that cast makes eager's finfo.min -inf and its
# rows NaN: those run in float32.)
CLOSE = {torch.float64: dict(rtol=1e-4, atol=2e-6), torch.float32: dict(rtol=1e-3, atol=2e-5)}


def _dtype(name):
    return torch.float32 if name.endswith("left-padded") else torch.float64


@pytest.fixture
def calls(monkeypatch):
    """How often Regard was really called."""
    count = [0]
    real = regard.transformers.attention

    def counted(*arguments, **keywords):
        count[0] += 1
        return real(*arguments, **keywords)

    monkeypatch.setattr(regard.transformers, "attention", counted)
    return count


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients_equal_eager(name, calls):
    make, draw = CASES[name]
    dtype = _dtype(name)
    eager, ours = twins(make, dtype)
    inputs = cast(draw(), dtype)
    expected, actual = result(eager, inputs), result(ours, inputs)
    assert calls[0] >= 2
    weight = meaningful(inputs, expected)
    torch.testing.assert_close(actual * weight, expected * weight, **CLOSE[dtype])
    direction = torch.randn_like(expected) * weight
    (expected * direction).sum().backward()
    (actual * direction).sum().backward()
    close = CLOSE[dtype]
    if (
        name == "gemma2"
    ):  # its float32 softmax and norms leave gradients 5e-6 apart on some processors
        close = dict(close, atol=1e-5)
    for (where, a), b in zip(eager.named_parameters(), ours.parameters(), strict=True):
        if a.grad is None:
            assert b.grad is None, where
        else:
            torch.testing.assert_close(
                b.grad, a.grad, **close, msg=lambda text, where=where: f"{where}: {text}"
            )


GENERATE = [
    "gemma2",
    "gpt2",
    "gpt2-left-padded",
    "gpt-oss",
    "gpt-oss-left-padded",
    "llama",
    "llama-left-padded",
    "mistral",
    "mistral-left-padded",
    "t5",
    "t5-padded",
]


@pytest.mark.parametrize("name", GENERATE)
def test_generate_writes_the_same_tokens(name, calls):
    make, draw = CASES[name]
    eager, ours = twins(make, _dtype(name))
    inputs = draw()
    inputs.pop("decoder_input_ids", None)
    inputs = {key: x for key, x in inputs.items() if x is not None}
    options = dict(max_new_tokens=9, do_sample=False, pad_token_id=0, eos_token_id=None)
    expected = eager.eval().generate(**inputs, **options)
    actual = ours.eval().generate(**inputs, **options)
    assert calls[0] >= 9
    assert torch.equal(actual, expected)


def test_generate_with_a_static_cache(calls):
    eager, ours = twins(llama)
    options = dict(
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
        cache_implementation="static",
        disable_compile=True,
    )
    prompt = ids()
    expected = eager.eval().generate(prompt, **options)
    assert torch.equal(ours.eval().generate(prompt, **options), expected)
    assert calls[0] >= 6


def test_whisper_generates_the_same_tokens(calls):
    eager, ours = twins(whisper)
    features = torch.randn(2, 8, 40).double()
    options = dict(max_new_tokens=6, do_sample=False)
    expected = eager.eval().generate(features, **options)
    assert torch.equal(ours.eval().generate(features, **options), expected)
    assert calls[0] >= 6


PARAMETERS = [
    "bert-padded",
    "gpt-oss",
    "gpt-oss-packed",
    "llama-padded",
    "llama-left-padded",
    "llama-packed",
    "mistral",
    "mistral-left-padded",
    "mistral-packed",
    "t5-padded",
]


def test_masks_with_parameters_make_no_matrix(monkeypatch):
    """Causal batches, padding, windows and packed sequences travel as parameters."""

    def refuse(**_):
        raise AssertionError("a boolean matrix was made")

    monkeypatch.setattr(hf_masks, "sdpa_mask", refuse)
    for q_length, q_offset in ((9, 0), (1, 8)):
        mask = hf_masks.regard_mask(2, q_length, 9, q_offset=q_offset, allow_is_causal_skip=True)
        assert mask.mask == regard.causal(q_offset) and mask.shape == (2, 1, q_length, 9)
    for name in PARAMETERS:
        make, draw = CASES[name]
        _, ours = twins(make)
        result(ours, draw())


LEARNED = {  # what attention learns beside its projections
    "t5-padded": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "gpt-oss-padded": "model.layers.0.self_attn.sinks",  # of a layer with a sliding window
    "gpt-oss": "model.layers.1.self_attn.sinks",
}


@pytest.mark.parametrize("name", LEARNED)
def test_what_attention_learns_gets_a_gradient(name):
    make, draw = CASES[name]
    inputs, gradients = draw(), []
    for model in twins(make):
        result(model, inputs).square().sum().backward()
        gradients.append(dict(model.named_parameters())[LEARNED[name]].grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1], gradients[0], **CLOSE[torch.float64])


def _call(**keywords):
    query, key, value = (torch.randn(1, heads, 6, 8, dtype=torch.float64) for heads in (4, 2, 2))
    return (query, key, value), regard_attention(
        torch.nn.Module(), query, key, value, None, **keywords
    )[0]


def test_sliding_window_means_that_many_keys_in_all():
    (query, key, value), out = _call(sliding_window=3)
    distance = torch.arange(6)[:, None] - torch.arange(6)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=(distance >= 0) & (distance < 3), enable_gqa=True
    )
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_softcap():
    (query, key, value), out = _call(softcap=2.0, is_causal=False, scaling=1.0)
    scores = query @ key.repeat_interleave(2, 1).transpose(-1, -2)
    expected = torch.softmax(2.0 * torch.tanh(scores / 2.0), -1) @ value.repeat_interleave(2, 1)
    torch.testing.assert_close(out, expected.transpose(1, 2))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("bias", [None, (1, 4, 1, 1), (1, 4, 12, 12)], ids=str)
def test_packed_sequences(batch, bias):
    """Rows of a batch follow each other; a sequence may go on in the next row."""
    cu = torch.tensor([0, 2, 8, 6 * batch] if batch > 1 else [0, 2, 6], dtype=torch.int32)
    bias = (
        None
        if bias is None
        else torch.randn(bias, dtype=torch.float64)[..., : 6 * batch, : 6 * batch]
    )
    inputs = [torch.randn(batch, heads, 6, 8, dtype=torch.float64) for heads in (4, 2, 2)]
    out = regard_attention(
        torch.nn.Module(), *inputs, None, position_bias=bias, cu_seq_lens_q=cu, cu_seq_lens_k=cu
    )[0]
    rows = [x.transpose(1, 2).flatten(0, 1).transpose(0, 1)[None] for x in inputs]
    document = torch.bucketize(torch.arange(6 * batch), cu, right=True)
    allowed = (document[:, None] == document) & oracle.causal(6 * batch, 6 * batch)
    expected = oracle.attention(*rows, allowed=allowed, bias=bias)[0][0].transpose(0, 1)
    torch.testing.assert_close(out, expected.unflatten(0, (batch, 6)))


def test_a_mask_goes_before_packed_sequences():
    """It may say more than where sequences end."""
    cu = torch.tensor([0, 2, 6], dtype=torch.int32)
    inputs = [torch.randn(1, 4, 6, 8, dtype=torch.float64) for _ in range(3)]
    allowed = torch.eye(6, dtype=torch.bool)[None, None]
    out = regard_attention(torch.nn.Module(), *inputs, allowed, cu_seq_lens_q=cu, cu_seq_lens_k=cu)[
        0
    ]
    torch.testing.assert_close(out, inputs[2].transpose(1, 2))


def test_a_mask_for_other_lengths_is_an_error():
    """Models that lengthen keys after the mask was made would have it count wrongly."""
    mask = hf_masks.regard_mask(1, 6, 6, allow_is_causal_skip=False)
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 4, 9, 8)
    with pytest.raises(ValueError, match="attention_mask: made for 6 keys; expected 9, as key has"):
        regard_attention(torch.nn.Module(), query, key, key, mask)
