// SPDX-License-Identifier: Apache-2.0
// Exact attention, fused: no n x n matrix is ever held, forward or backward.
//
//   out = softmax(scale * q k^T (+ modifiers), over the keys that the mask allows) v
//
// (Vaswani et al. 2017, arXiv 1706.03762)
//
// The kernels visit tiles of the score matrix with an online softmax (FlashAttention, arXiv
// 2205.14135). Memory beyond inputs and outputs: a fixed scratch per worker, and for the backward
// pass delta plus at most one float copy of the gradients.
//
// Results are bitwise reproducible: a row depends on its own query, the keys and values, the
// options, the lengths and the instruction set, and on nothing else (not on threads, batch mates or
// the run).
#pragma once

#include <optional>
#include <vector>

#include "regard/executor.h"
#include "regard/mask.h"
#include "regard/modifier.h"
#include "regard/part.h"
#include "regard/score.h"
#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

class Plan;

// What attention is wanted. Plain data; every field has the default that users expect.
struct Options {
  // A dot product when not given.
  std::optional<Additive> score;
  // Multiplies the score; when not given, 1 / sqrt(dim) for dot products and 1 for additive scores.
  std::optional<double> scale;
  // Hides nothing by default.
  Mask mask;
  // At most one each of Temperature, Softcap and Sinks; any number of the others.
  std::vector<Modifier> modifiers;
  // Where the tensors stand in a longer attention; they are all of it when not given.
  std::optional<Part> part;
};

// q (batch, heads_q, len_q, dim), k (batch, heads_kv, len_k, dim), v (batch, heads_kv, len_k,
// dim_v). One dtype for all three: float32, bfloat16, float16 (computed in float32) or float64
// (computed in float64). 1 <= dim <= 512 (2048 with additive scores), 1 <= dim_v <= 2048. heads_q
// is a multiple of heads_kv; query head h reads kv head h / (heads_q / heads_kv). Lengths may be 0.
struct Inputs {
  TensorView q, k, v;
};

// out (batch, heads_q, len_q, dim_v), of the inputs' dtype, or float32 for bfloat16 and float16
// inputs (a part that will be merged should not be rounded twice). Row statistics, each optional,
// (batch, heads_q, len_q, 1), float32 (float64 for float64 inputs):
//   maximum, log_sum   the two halves of lse, kept apart: with scores near the largest float one
//                      number loses the sum. backward() and merge() want both.
//   lse                maximum + log_sum, natural log.
// What is written shares no memory with what is read or with other results, which is refused
// otherwise; views that interleave without sharing an element (query, key and value packed side by
// side) are apart. One may lie over another: out over q, where both are the same view, element for
// element. Masks are read before anything is written.
// A row that sees no key has out 0, maximum -inf, log_sum 0 and lse -inf; with sinks, out 0 and lse
// = logsumexp(sinks).
struct Outputs {
  MutableTensorView out;
  MutableTensorView maximum;
  MutableTensorView log_sum;
  MutableTensorView lse;
};

// Everything that backward() reads: the inputs, what forward() gave for them, and the gradients
// that arrive.
struct BackwardInputs {
  TensorView q, k, v;
  TensorView out, maximum, log_sum;
  TensorView d_out;  // shape and dtype of out
  TensorView d_lse;  // optional, shape of lse: the gradient that arrives through lse
};

// The gradients that are wanted; a view that is not given is not computed. Each has its input's
// shape; its dtype is the input's, or float32. d_modifiers has one entry for each of
// Options::modifiers that holds a differentiable tensor (all but Softcap, Function and Dropout), in
// their order, each with that tensor's own (broadcast) shape; the list may be shorter. d_score_v is
// that of Additive::v. None may share memory with anything in BackwardInputs, with a tensor of the
// options or with another gradient: that is refused.
struct Gradients {
  MutableTensorView dq, dk, dv;
  std::vector<MutableTensorView> d_modifiers;
  MutableTensorView d_score_v = {};
};

// A plan may be handed in when the same mask and lengths are used again (see regard/plan.h);
// otherwise one is made.
Status forward(const Inputs& inputs, const Options& options, const Outputs& outputs,
               const Executor& executor = default_executor(), const Plan* plan = nullptr);
Status backward(const BackwardInputs& inputs, const Options& options, const Gradients& gradients,
                const Executor& executor = default_executor(), const Plan* plan = nullptr);

// Scratch memory is kept between calls so that a warm call allocates nothing; what boolean tensors
// and orders of rows (dilated windows, global tokens) become is made anew unless a Plan is handed
// in. This gives it back.
void release_scratch();
// Bytes of scratch that are kept or in use now, over all workers.
std::size_t scratch_bytes();

}  // namespace regard
