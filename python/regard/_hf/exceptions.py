# SPDX-License-Identifier: Apache-2.0
"""Architectures for which the general rules are not enough: data, found by
`./dev sweep transformers`."""

# Model types whose code joins its mask with biases of its own, and would take a boolean one for
# such: they get eager's masks, 0 where attended and the lowest number elsewhere.
FLOAT_MASKS = frozenset({"deepseek_v4"})

# Model types whose layers shorten the sequence and refuse a mask of the length before: they get
# none where nothing is hidden, as eager does.
SHORTENED = frozenset({"informer"})

# Model types whose eager code gives, for output_attentions, the weights without the share of their
# sinks; others give those that values are multiplied by.
WEIGHTS_WITHOUT_SINKS = frozenset({"granite_swa", "granitemoe_swa"})
