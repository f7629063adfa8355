// What happens to a score between the product q . k and the softmax. Modifiers are values in Options::modifiers.
//
// Their order is fixed, whatever the order in the list: scale, softcap, bias (or bias before softcap when it asks), mask.
#pragma once

#include <variant>
#include <vector>

#include "regard/tensor_view.h"

namespace regard {

// s <- cap * tanh(s / cap), cap > 0 (Gemma 2, arXiv 2408.00118). No gradient to cap.
struct Softcap {
  double cap = 0;
};

// s <- s + bias, where bias is float32, bfloat16, float16 or float64 and its shape broadcasts to (batch, heads, len_q, len_k): each
// size equals the full one or is 1. -inf hides a pair; finite values, however low, do not.
struct Bias {
  TensorView values;
  bool before_softcap = false;
};

using Modifier = std::variant<Softcap, Bias>;

}  // namespace regard
