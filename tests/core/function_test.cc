// SPDX-License-Identifier: Apache-2.0
// Functions of a user's, which may do anything between two products.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "regard/attention.h"
#include "regard/executor.h"

namespace regard::testing {
namespace {

constexpr std::int64_t kRowsOfHead = 70, kDim = 40;

// Sixteen bits, the upper half of a float between -1 and 1 for each element.
class Elements {
 public:
  explicit Elements(std::uint32_t seed) : bits_(kRowsOfHead * kDim) {
    for (std::uint16_t& b : bits_) {
      seed = seed * 1664525u + 1013904223u;
      b = static_cast<std::uint16_t>((seed >> 31 << 15) | 0x3E00u | (seed >> 20 & 0x1FFu));
    }
  }
  MutableTensorView view() {
    return MutableTensorView::bhsd(bits_.data(), DType::kBFloat16, 1, 1, kRowsOfHead, kDim);
  }
  const std::vector<std::uint16_t>& bits() const { return bits_; }

 private:
  std::vector<std::uint16_t> bits_;
};

struct Pass {
  Elements q{1}, k{2}, v{3}, out{4}, d_out{5}, dq{6}, dk{7}, dv{8};
  std::vector<float> statistics = std::vector<float>(2 * kRowsOfHead);

  MutableTensorView statistic(std::int64_t which) {
    return MutableTensorView::bhsd(statistics.data() + which * kRowsOfHead, DType::kFloat32, 1, 1,
                                   kRowsOfHead, 1);
  }
  Status forward(const Options& options) {
    return regard::forward({as_const(q.view()), as_const(k.view()), as_const(v.view())}, options,
                           {out.view(), statistic(0), statistic(1), {}}, serial_executor());
  }
  Status backward(const Options& options) {
    return regard::backward({as_const(q.view()),
                             as_const(k.view()),
                             as_const(v.view()),
                             as_const(out.view()),
                             as_const(statistic(0)),
                             as_const(statistic(1)),
                             as_const(d_out.view()),
                             {}},
                            options, {dq.view(), dk.view(), dv.view(), {}}, serial_executor());
  }
};

void nothing(const FunctionTile* /*tile*/, void* /*context*/) {}
void another_attention(const FunctionTile* /*tile*/, void* context) {
  Pass inner;
  EXPECT_TRUE(inner.forward({}).ok());
  ++*static_cast<int*>(context);
}

// A function may use whatever the kernels around it use: a matrix unit has one state for each
// thread.
TEST(Function, MayRunAnAttentionOfItsOwn) {
  int calls = 0;
  Pass expected, got;
  Options with_nothing, with_another;
  with_nothing.modifiers = {Function{nothing, nothing, nullptr}};
  with_another.modifiers = {Function{another_attention, another_attention, &calls}};
  ASSERT_TRUE(expected.forward(with_nothing).ok() && expected.backward(with_nothing).ok());
  ASSERT_TRUE(got.forward(with_another).ok() && got.backward(with_another).ok());
  EXPECT_GT(calls, 2);
  EXPECT_EQ(got.out.bits(), expected.out.bits());
  EXPECT_EQ(got.statistics, expected.statistics);
  EXPECT_EQ(got.dq.bits(), expected.dq.bits());
  EXPECT_EQ(got.dk.bits(), expected.dk.bits());
  EXPECT_EQ(got.dv.bits(), expected.dv.bits());
}

// NaN for all pairs whose score is 0, as a logarithm's derivative may give: that is what hidden
// pairs count as.
void derive_nan_of_zero(const FunctionTile* tile, void* /*context*/) {
  auto* gradients = static_cast<float*>(tile->data);
  const auto* scores = static_cast<const float*>(tile->scores);
  for (std::int64_t r = 0; r < tile->rows; ++r) {
    for (std::int64_t c = 0; c < tile->columns; ++c) {
      if (scores[r * tile->stride + c] == 0)
        gradients[r * tile->stride + c] = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

TEST(Function, WhatItDerivesOfHiddenPairsNeverComesOut) {
  Pass expected, got;
  Options with_nothing, with_nan;
  with_nothing.mask = with_nan.mask = causal();
  with_nothing.modifiers = {Function{nothing, nothing, nullptr}};
  with_nan.modifiers = {Function{nothing, derive_nan_of_zero, nullptr}};
  ASSERT_TRUE(expected.forward(with_nothing).ok() && expected.backward(with_nothing).ok());
  ASSERT_TRUE(got.forward(with_nan).ok() && got.backward(with_nan).ok());
  EXPECT_EQ(got.dq.bits(), expected.dq.bits());
  EXPECT_EQ(got.dk.bits(), expected.dk.bits());
  EXPECT_EQ(got.dv.bits(), expected.dv.bits());
}

}  // namespace
}  // namespace regard::testing
