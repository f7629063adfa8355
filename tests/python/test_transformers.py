"""attn_implementation="regard" beside "eager", on tiny models with random weights: outputs, gradients, padded batches, generate."""

import copy

import pytest
import torch

transformers = pytest.importorskip("transformers")

import regard.transformers  # noqa: E402
from regard import _transformers_masks  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)  # fmt: skip

# The models run in float64, but eager takes several models' softmax in float32: that is the difference allowed. (Where whole rows are
# padding, that cast makes eager's finfo.min -inf and its rows NaN: those run in float32.)
CLOSE = {torch.float64: dict(rtol=1e-4, atol=2e-6), torch.float32: dict(rtol=1e-3, atol=2e-5)}
SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)


def _bert():
    return BertModel(BertConfig(vocab_size=60, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0, **SMALL))


def _gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0))


def _llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=60, num_key_value_heads=2, **SMALL))


def _mistral():
    return MistralForCausalLM(MistralConfig(vocab_size=60, num_key_value_heads=2, sliding_window=5, **SMALL))


def _t5():
    return T5ForConditionalGeneration(
        T5Config(vocab_size=60, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.0, decoder_start_token_id=0)
    )


def _vit():
    return ViTModel(ViTConfig(image_size=16, patch_size=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SMALL))


def _whisper():
    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=60, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=8, max_source_positions=20, max_target_positions=20,
            dropout=0.0, attention_dropout=0.0, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            suppress_tokens=None, begin_suppress_tokens=None,
        )
    )  # fmt: skip


def _ids(batch=3, length=11):
    return torch.randint(3, 60, (batch, length))


def _padding(side, batch=3, length=11):
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, : 2 * row] = 0
    return mask if side == "left" else mask.flip(1)


def _text(padding):
    mask = None if padding is None else _padding(padding)
    return lambda: dict(input_ids=_ids(), attention_mask=mask)


def _seq2seq(padding):
    mask = None if padding is None else _padding(padding)
    return lambda: dict(input_ids=_ids(), attention_mask=mask, decoder_input_ids=_ids(3, 7))


CASES = {
    "bert": (_bert, _text(None)),
    "bert-padded": (_bert, _text("right")),
    "gpt2": (_gpt2, _text(None)),
    "gpt2-left-padded": (_gpt2, _text("left")),
    "llama": (_llama, _text(None)),
    "llama-padded": (_llama, _text("right")),
    "llama-left-padded": (_llama, _text("left")),
    "mistral": (_mistral, _text(None)),
    "mistral-left-padded": (_mistral, _text("left")),
    "t5": (_t5, _seq2seq(None)),
    "t5-padded": (_t5, _seq2seq("right")),
    "vit": (_vit, lambda: dict(pixel_values=torch.randn(2, 3, 16, 16))),
    "whisper": (_whisper, lambda: dict(input_features=torch.randn(2, 8, 40), decoder_input_ids=_ids(2, 7))),
}


def _dtype(name):
    return torch.float32 if name.endswith("left-padded") else torch.float64


def _twins(make, dtype=torch.float64):
    """The same model twice: eager, and regard."""
    torch.manual_seed(0)
    eager = make().to(dtype).train()
    ours = copy.deepcopy(eager)
    eager.set_attn_implementation("eager")
    ours.set_attn_implementation("regard")
    return eager, ours


def _cast(inputs, dtype):
    return {name: x.to(dtype) if x is not None and x.is_floating_point() else x for name, x in inputs.items()}


def _result(model, inputs):
    outputs = model(**inputs)
    return outputs.logits if hasattr(outputs, "logits") else outputs.last_hidden_state


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
    eager, ours = _twins(make, dtype)
    inputs = _cast(draw(), dtype)
    expected, actual = _result(eager, inputs), _result(ours, inputs)
    assert calls[0] >= 2
    mask = inputs.get("attention_mask")
    if mask is not None and expected.shape[1] == mask.shape[1]:
        weight = mask.bool()[..., None]  # rows of padding mean nothing
    else:
        weight = torch.ones(expected.shape[:2], dtype=torch.bool)[..., None]
    torch.testing.assert_close(actual * weight, expected * weight, **CLOSE[dtype])
    direction = torch.randn_like(expected) * weight
    (expected * direction).sum().backward()
    (actual * direction).sum().backward()
    for (where, a), b in zip(eager.named_parameters(), ours.parameters(), strict=True):
        if a.grad is None:
            assert b.grad is None, where
        else:
            torch.testing.assert_close(b.grad, a.grad, **CLOSE[dtype], msg=lambda text, where=where: f"{where}: {text}")


@pytest.mark.parametrize(
    "name", ["gpt2", "gpt2-left-padded", "llama", "llama-left-padded", "mistral", "mistral-left-padded", "t5", "t5-padded"]
)
def test_generate_writes_the_same_tokens(name, calls):
    make, draw = CASES[name]
    eager, ours = _twins(make, _dtype(name))
    inputs = draw()
    inputs.pop("decoder_input_ids", None)
    inputs = {key: x for key, x in inputs.items() if x is not None}
    options = dict(max_new_tokens=9, do_sample=False, pad_token_id=0, eos_token_id=None)
    expected = eager.eval().generate(**inputs, **options)
    actual = ours.eval().generate(**inputs, **options)
    assert calls[0] >= 9
    assert torch.equal(actual, expected)


def test_generate_with_a_static_cache(calls):
    eager, ours = _twins(_llama)
    options = dict(
        max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None, cache_implementation="static", disable_compile=True
    )
    ids = _ids()
    expected = eager.eval().generate(ids, **options)
    assert torch.equal(ours.eval().generate(ids, **options), expected)
    assert calls[0] >= 6


def test_whisper_generates_the_same_tokens(calls):
    eager, ours = _twins(_whisper)
    features = torch.randn(2, 8, 40).double()
    options = dict(max_new_tokens=6, do_sample=False)
    expected = eager.eval().generate(features, **options)
    assert torch.equal(ours.eval().generate(features, **options), expected)
    assert calls[0] >= 6


def test_masks_with_parameters_make_no_matrix(monkeypatch):
    """An unpadded causal batch has no mask at all; padding and windows travel as parameters."""

    def refuse(**_):
        raise AssertionError("a boolean matrix was made")

    monkeypatch.setattr(_transformers_masks, "sdpa_mask", refuse)
    assert _transformers_masks.regard_mask(2, 9, 9, allow_is_causal_skip=True) is None
    assert _transformers_masks.regard_mask(2, 1, 9, q_offset=8) is None
    for name in ("llama-padded", "llama-left-padded", "mistral", "mistral-left-padded", "bert-padded", "t5-padded"):
        make, draw = CASES[name]
        _, ours = _twins(make)
        _result(ours, draw())


def test_position_bias_of_t5_gets_a_gradient():
    eager, ours = _twins(_t5)
    table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    inputs = CASES["t5-padded"][1]()
    gradients = []
    for model in (eager, ours):
        model(**inputs).logits.square().sum().backward()
        gradients.append(dict(model.named_parameters())[table].grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], **CLOSE[torch.float64])


def _call(**keywords):
    query, key, value = (torch.randn(1, heads, 6, 8, dtype=torch.float64) for heads in (4, 2, 2))
    return (query, key, value), regard.transformers.regard_attention(torch.nn.Module(), query, key, value, None, **keywords)[0]


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


def test_packed_sequences():
    cu = torch.tensor([0, 2, 6], dtype=torch.int32)
    (query, key, value), out = _call(cu_seq_lens_q=cu, cu_seq_lens_k=cu)
    document = torch.tensor([0, 0, 1, 1, 1, 1])
    allowed = (document[:, None] == document) & torch.ones(6, 6, dtype=torch.bool).tril()
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, enable_gqa=True)
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_dropout_in_training_is_left_to_pytorch(calls):
    _, ours = _twins(lambda: BertModel(BertConfig(vocab_size=60, attention_probs_dropout_prob=0.5, **SMALL)))
    ids, mask = _ids(), _padding("right")
    torch.manual_seed(1)
    first = ours(input_ids=ids, attention_mask=mask).last_hidden_state
    assert calls[0] == 0
    assert not torch.equal(first, ours(input_ids=ids, attention_mask=mask).last_hidden_state)


def test_what_is_not_supported_yet_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="s_aux.*not supported yet"):
        _call(s_aux=torch.zeros(4))
    with pytest.raises(NotImplementedError, match="dropout with softcap is not supported yet"):
        _call(softcap=2.0, dropout=0.1)
    with pytest.raises(NotImplementedError, match="paged caches.*not supported yet"):
        _call(cache=object())
