// SPDX-License-Identifier: Apache-2.0
// How a query and a key become a score. Options::score chooses; a scaled dot product where nothing
// is chosen.
#pragma once

#include "regard/executor.h"
#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// Additive attention (Bahdanau et al. 2014, arXiv 1409.0473):
//
//   score(q, k) = scale * v . tanh(q + k)
//
// where q and k are the projected query W s and the projected key U h, so that Inputs::q and
// Inputs::k have the same dim. The scale is 1 unless given. `v` is (batch, heads_q, 1, dim) or
// broadcasts to it: usually (1, 1, 1, dim), one vector for all, or (1, heads_q, 1, dim), one a
// head. float32, bfloat16, float16 or float64; finite.
//
// Scores are computed in float32 (float64 for float64 inputs) from e^{2q} and e^{2k}, taken once a
// row. Any finite q and k are served: an element saturates its tanh as it should, however large,
// and elements of opposite sign cancel exactly. The error of a score is at most 2e-6 * scale * sum
// |v| in float32. dim and dim_v go up to 2048. Sequences with at most 4 queries are scored pair by
// pair, in another order of summation: a decoder's steps, one a call, agree with all of them in one
// call to that error, not to the bit.
//
// The Luong family (arXiv 1508.04025) is made of what is here: general, q . (W k), is a dot product
// with k projected by W and scale 1; concat, v . tanh(W [q; k]), is additive with W cut in two, q
// projected by its left half and k by its right; location, softmax(W q), is a dot product with the
// rows of W as keys and scale 1.
//
// `prepared_keys`, optional: what prepare_keys() made of Inputs::k, for keys that many calls share,
// such as the encoder's in a decoder that takes a step a call. It broadcasts to k's shape, and
// saves a call the exponentials of its keys; results have the same bits. Inputs::k is given all the
// same, and has the gradient.
struct Additive {
  TensorView v;
  TensorView prepared_keys = {};
};

// Takes e^{2k} of every element once. k (batch, heads_kv, len_k, dim) as Inputs::k; `prepared` of
// the same shape, with any strides and memory of its own, float32 (float64 for float64 keys). It is
// a tensor like the keys: rows may be appended as keys are, and a slice of it serves the same slice
// of them. What it holds depends on this version and on the instruction set.
Status prepare_keys(const TensorView& k, const MutableTensorView& prepared,
                    const Executor& executor = default_executor());

}  // namespace regard
