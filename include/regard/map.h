// SPDX-License-Identifier: Apache-2.0
// Looking at attention: exact weights on request, from q, k and the statistics of the rows. Nothing
// of size n x n is ever held; memory is that of the answer and a fixed scratch per worker.
//
//   P_ij = exp(s_ij - lse_i) * g_ij      s: the score after all modifiers; g: dropout, multipliers
//   and Gaussians (1 without them)
//
// A hidden pair has weight 0. A row adds up to 1, or to what sinks, dropout or a multiplier leave
// of it; a row that sees no key is 0. Weights are those that forward() multiplies values with, from
// scores of the same bits.
//
// An answer shares no memory with what is read, or with another answer.
//
// Everything is float32 (float64 for float64 inputs). Results are bitwise the same for any number
// of workers. An error is a Status that names the argument.
#pragma once

#include <cstdint>
#include <span>

#include "regard/attention.h"

namespace regard {

// q (batch, heads_q, len_q, dim), k (batch, heads_kv, len_k, dim), as forward() takes them. maximum
// and log_sum (batch, heads_q, len_q, 1) are what forward() wrote for them, or (lse, zeros) unless
// scores are huge; where neither is given they are computed for the rows that are looked at, which
// costs about half of a forward pass over these. Statistics of a longer attention, of which k is a
// part, give that part's weights.
struct MapInputs {
  TensorView q, k;
  TensorView maximum, log_sum;
};

// Which part of the weights (batch, heads_q, len_q, len_k) is looked at: [begin, end) of each axis,
// in rows of the tensors; an end of -1 is the axis' size. Counting (masks, ALiBi, dropout) stays
// that of the whole.
struct MapRegion {
  std::int64_t batch_begin = 0, batch_end = -1;
  std::int64_t head_begin = 0, head_end = -1;
  std::int64_t row_begin = 0, row_end = -1;
  std::int64_t key_begin = 0, key_end = -1;
};

// How the weights of one cell of a picture become one number. What is hidden counts as 0.
enum class Pooling : std::uint8_t { kMax, kMean, kSum };

// weights (batches, heads or 1, rows, keys) of the region. Here and below, a head axis of 1 asks
// for the mean over the region's heads.
Status attention_weights(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         const MutableTensorView& weights,
                         const Executor& executor = default_executor(), const Plan* plan = nullptr);

// picture (batches, heads or 1, height, width): the region's weights, pooled, in one pass. Row i of
// n belongs to row floor(i * height / n) of the picture, keys likewise; so 1 <= height <= rows and
// 1 <= width <= keys. kMax starts from 0: negative weights, which only a multiplier makes, do not
// show.
Status attention_picture(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         Pooling pooling, const MutableTensorView& picture,
                         const Executor& executor = default_executor(), const Plan* plan = nullptr);

// The keys that count most in each row: weights (batches, heads or 1, rows, count), from the
// largest down, and keys (the same shape, int64), rows of k's tensor. Only positive weights count:
// where there are fewer than `count`, the rest are key -1 and weight 0. Of equal weights the lower
// key comes first. A row that attends to NaN has weights NaN and keys -1. 1 <= count <= len_k; the
// region's keys are all keys.
Status attention_top(const MapInputs& inputs, const Options& options, const MapRegion& region,
                     const MutableTensorView& keys, const MutableTensorView& weights,
                     const Executor& executor = default_executor(), const Plan* plan = nullptr);

// entropy (batches, heads or 1, rows, 1): -sum_j P_ij ln P_ij, in nats; from 0 (one key has it all,
// or none is seen) to ln of how many keys a row sees. With a head axis of 1 it is the entropy of
// the mean map. Negative weights, which only a multiplier makes, give NaN. The region's keys are
// all keys.
Status attention_entropy(const MapInputs& inputs, const Options& options, const MapRegion& region,
                         const MutableTensorView& entropy,
                         const Executor& executor = default_executor(), const Plan* plan = nullptr);

// sums (batches, heads or 1, vectors, keys): sum_i x_vi P_ij over the region's rows: vectors passed
// through the map. row_weights x (batches, heads or 1, vectors, rows) is of the answer's dtype;
// where it is not given there is one vector, of ones, and the sums are how much attention each key
// receives. Rows whose x is 0 in all vectors are not computed.
Status attention_column_sums(const MapInputs& inputs, const Options& options,
                             const MapRegion& region, const TensorView& row_weights,
                             const MutableTensorView& sums,
                             const Executor& executor = default_executor(),
                             const Plan* plan = nullptr);

// One layer of a model, as attention_rollout() meets it.
struct RolloutLayer {
  MapInputs inputs;
  Options options;
  const Plan* plan = nullptr;
};

// Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): which inputs the output of a stack of
// self-attention layers goes back to.
//
//   rows <- rows A_L A_(L-1) ... A_1      A_l = residual * I + (1 - residual) * (mean over heads of
//   P_l)
//
// layers[0] is A_1, next to the input. rows (batch, 1, vectors, n) holds the chosen rows of the
// last layer's output, say ones of the unit matrix, and is overwritten; it is passed through one
// layer after the other, so that no product of n x n matrices is made. All layers have len_q =
// len_k = n and the batch and dtype family of `rows`. The paper's residual is 0.5; rows of P that
// do not add up to 1 (sinks, dropout, multipliers) are taken as they are.
Status attention_rollout(std::span<const RolloutLayer> layers, double residual,
                         const MutableTensorView& rows,
                         const Executor& executor = default_executor());

}  // namespace regard
