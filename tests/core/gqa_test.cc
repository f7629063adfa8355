// SPDX-License-Identifier: Apache-2.0
// Query heads that share a key/value head: the same bits as with the keys repeated, and gradients
// that add up over the group.
#include <gtest/gtest.h>

#include "tests/core/support/error_bar.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

Tensor repeated(const Tensor& kv, std::int64_t group) {
  const Shape& s = kv.shape();
  Tensor full(kv.dtype(), {s[0], s[1] * group, s[2], s[3]});
  for_each_index(full.shape(), [&](auto b, auto h, auto j, auto d) {
    full.set(b, h, j, d, kv.at(b, h / group, j, d));
  });
  return full;
}

class Gqa : public ::testing::TestWithParam<DType> {};

TEST_P(Gqa, SharedKeysGiveTheBitsOfRepeatedOnes) {
  Random random(1);
  for (const std::int64_t group : {2, 3, 4, 7, 8, 16}) {
    for (const bool is_causal : {false, true}) {
      Problem shared = random_problem(random, GetParam(), {2, 2, group, 13, 77, 24, 16});
      if (is_causal) shared.rule = see_causal();
      Problem full = shared;
      full.k = repeated(shared.k, group);
      full.v = repeated(shared.v, group);
      Results expected = run(full);
      expected.dk = expected.dv = Tensor();  // per head there, summed over the group here
      EXPECT_TRUE(same_bits(expected, run(shared)))
          << "group " << group << (is_causal ? ", causal" : "");
    }
  }
}

TEST_P(Gqa, GradientsAddUpOverTheGroup) {
  Random random(2);
  for (const std::int64_t group : {1, 2, 5, 8, 32}) {
    Problem p = random_problem(random, GetParam(), {1, 2, group, 40, 60, 16, 24});
    p.rule = see_window(30, 2);
    EXPECT_EQ(errors_of(p, run(p)), "") << "group " << group;
  }
}

// Masks and biases of their own for each query head of a group.
TEST_P(Gqa, HeadsOfAGroupMayDiffer) {
  Random random(3);
  Problem p = random_problem(random, GetParam(), {2, 2, 3, 30, 50, 16, 16});
  Tensor allowed(DType::kBool, {1, 6, 30, 50});
  for_each_index(allowed.shape(), [&](auto b, auto h, auto i, auto j) {
    allowed.set(b, h, i, j, (i * 5 + j * 3 + h * 7) % (h + 2) == 0);
  });
  p.rule = see_tensor(allowed);
  p.biases.push_back({Tensor(kF32, {1, 6, 1, 1}), false});
  p.biases[0].values.fill_normal(random);
  EXPECT_EQ(errors_of(p, run(p)), "");
}

INSTANTIATE_TEST_SUITE_P(DTypes, Gqa, ::testing::Values(kF32, kBf16, kF16, kF64),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace regard::testing
