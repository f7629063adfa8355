// SPDX-License-Identifier: Apache-2.0
// How far a result may be from the oracle: a multiple of the error that the plain attention of the
// same dtype makes.
//
//   forward     largest error <= max(2 x plain's, 4 eps(dtype) max|v|)
//   gradients   largest error <= max(3 x plain's, 4 eps(dtype) x the largest sum of absolute terms
//   that makes up an element)
//
// Plain's error is the larger one of two orders of summation (see reversed()): that of one order
// alone may be small by chance. A weighted mean of v has terms that add up to at most max|v|, so
// that both floors are the same one. For narrow dtypes the floor on the largest error hides a
// missing key among hundreds; so the root mean square is held to the same multiples of plain's,
// with a floor of 4 eps(dtype) x (the root mean square of the exact values + what a saved output
// that is rounded to its dtype does to delta).
#pragma once

#include <string>

#include "tests/core/support/problem.h"

namespace regard::testing {

// Compares everything in `results` with the oracle. Empty where all is within the bars; else what
// is off, by how much. With score_size, the floors grow by eps(statistics dtype) * score_size,
// relatively: what two roundings do to scores that large, in any order of summation. Random
// problems need it (see score_size()): plain's own error, of a few pairs that count, may be small
// by chance.
std::string errors_of(const Problem& problem, const Results& results, double score_size = 0);

// The largest sum of |scale * q_d * k_d| over the dims d of any pair.
double score_size(const Problem& problem);

// Of the last comparison: the largest error as a share of its bar (1: at the bar), to see how much
// room there is.
double worst_ratio();

}  // namespace regard::testing
