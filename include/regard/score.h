// How a query and a key become a score. Options::score chooses; a scaled dot product where nothing is chosen.
#pragma once

#include "regard/tensor_view.h"

namespace regard {

// Additive attention (Bahdanau et al. 2014, arXiv 1409.0473):
//
//   score(q, k) = scale * v . tanh(q + k)
//
// where q and k are the projected query W s and the projected key U h, so that Inputs::q and Inputs::k have the same dim. The scale is 1
// unless given. `v` is (batch, heads_q, 1, dim) or broadcasts to it: usually (1, 1, 1, dim), one vector for all, or (1, heads_q, 1, dim),
// one a head. float32, bfloat16, float16 or float64; finite.
//
// Scores are computed in float32 (float64 for float64 inputs) from e^{2q} and e^{2k}, taken once a row. Any finite q and k are served: an
// element saturates its tanh as it should, however large, and elements of opposite sign cancel exactly. The error of a score is at most
// 2e-6 * scale * sum |v| in float32. dim and dim_v go up to 2048.
//
// The Luong family (arXiv 1508.04025) is made of what is here: general, q . (W k), is a dot product with k projected by W and scale 1;
// concat, v . tanh(W [q; k]), is additive with W cut in two, q projected by its left half and k by its right; location, softmax(W q), is a
// dot product with the rows of W as keys and scale 1.
struct Additive {
  TensorView v;
};

}  // namespace regard
