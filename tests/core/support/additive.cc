// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/additive.h"

#include <cmath>

#include "regard/score.h"

namespace regard::testing {

Problem additive_problem(Random& random, DType dtype, const Sizes& sizes, bool shared_v) {
  Problem p = random_problem(random, dtype, sizes);
  p.score_v = Tensor(dtype, {1, shared_v ? 1 : p.heads(), 1, sizes.dim});
  p.score_v.fill_normal(random, 2 / std::sqrt(static_cast<double>(sizes.dim)));
  p.d_lse = Tensor(p.statistics_dtype(), {p.batch(), p.heads(), p.len_q(), 1});
  p.d_lse.fill_normal(random);
  return p;
}

Problem with_prepared_keys(Problem p, Lie lie) {
  Tensor prepared(p.statistics_dtype(), p.k.shape(), lie);
  const Status status = prepare_keys(p.k.view(), prepared.mutable_view());
  EXPECT_TRUE(status.ok()) << status.message();
  p.prepared_keys = prepared;
  return p;
}

}  // namespace regard::testing
