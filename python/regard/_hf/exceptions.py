# SPDX-License-Identifier: Apache-2.0
"""Architectures for which the general rules are not enough: data, found by
`./dev sweep transformers`."""

# Model types whose code joins its mask with biases of its own, and would take a boolean one for
# such: they get eager's masks, 0 where attended and the lowest number elsewhere.
FLOAT_MASKS = frozenset({"deepseek_v4"})
