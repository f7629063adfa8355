// SPDX-License-Identifier: Apache-2.0
// Masks against dense matrices filled pair by pair from their formulas: intervals must be sound,
// bits exact.
#include "regard/mask.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "core/plan/layout.h"
#include "tests/core/support/any_mask.h"
#include "tests/core/support/truth.h"

namespace regard {
namespace {

using plan::Layout;
using testing::any_mask;
using testing::expect_truth;
using testing::first_lie;
using testing::Pair;
using testing::parse_rule;
using testing::Rule;
using testing::see_causal;
using testing::see_documents;
using testing::see_lengths;
using testing::see_same_document;
using testing::see_window;

// Bytes of a boolean tensor, and a view of them.
struct Bytes {
  std::vector<unsigned char> bytes;
  TensorView view;

  bool at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    const std::int64_t index[4] = {b, h, i, j};
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < 4; ++axis)
      offset += view.shape[axis] == 1 ? 0 : index[axis] * view.strides[axis];
    return static_cast<const unsigned char*>(view.data)[offset] != 0;
  }
};

Rule see_bytes(const std::shared_ptr<Bytes>& bytes) {
  return {tensor(bytes->view),
          [=](const Pair& p) { return bytes->at(p.batch, p.head, p.row, p.key); },
          {},
          {}};
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(),
                       kLeast = std::numeric_limits<std::int64_t>::min();

TEST(Mask, Default) {
  expect_truth({}, {2, 3, 25, 70});
  expect_truth({}, {1, 1, 0, 70});
  expect_truth({}, {1, 1, 25, 0});
  expect_truth({}, {0, 1, 25, 25});
}

TEST(Mask, Causal) {
  for (const auto& [len_q, len_k] :
       {std::pair{37, 37}, {5, 130}, {130, 5}, {1, 64}, {12, 12}, {24, 0}, {0, 24}}) {
    const PlanShape shape{2, 2, len_q, len_k};
    expect_truth(see_causal(std::nullopt), shape);
    for (const std::int64_t offset :
         {std::int64_t{0}, std::int64_t{-3}, std::int64_t{64}, std::int64_t{-500}, kMost, kLeast}) {
      if (offset == kMost || offset == kLeast) {
        // The formula would overflow: all or nothing is what it comes to.
        expect_truth({causal(offset), [=](const Pair&) { return offset > 0; }, {}, {}}, shape);
      } else {
        expect_truth(see_causal(offset), shape);
      }
    }
  }
}

TEST(Mask, Window) {
  for (const auto& [len_q, len_k] : {std::pair{70, 70}, {20, 150}, {90, 40}}) {
    for (const std::int64_t left : {-1, 0, 1, 11, 12, 64, 1000}) {
      for (const std::int64_t right : {-1, 0, 5, 40}) {
        expect_truth(see_window(left, right, std::nullopt), {1, 1, len_q, len_k});
        expect_truth(see_window(left, right, -7), {1, 1, len_q, len_k});
      }
    }
  }
}

TEST(Mask, WindowOfExtremeNumbers) {
  const PlanShape shape{1, 1, 30, 30};
  const Rule all{window(kMost, kMost), [](const Pair&) { return true; }, {}, {}};
  expect_truth(all, shape);
  // The offset and the left side cancel: key i and later.
  const Rule from_i{window(kMost, -1, kMost), [](const Pair& p) { return p.j >= p.i; }, {}, {}};
  expect_truth(from_i, shape);
  // Sums that pass the ends of int64: offset + right above, offset - left below.
  const Rule from_i_on{
      window(kMost, kMost, kMost), [](const Pair& p) { return p.j >= p.i; }, {}, {}};
  expect_truth(from_i_on, shape);
  const Rule before_i{
      window(kMost, kMost, kLeast), [](const Pair& p) { return p.j < p.i; }, {}, {}};
  expect_truth(before_i, shape);
  const Rule none{window(0, 0, kMost), [](const Pair&) { return false; }, {}, {}};
  expect_truth(none, shape);
}

TEST(Mask, KeyLengths) {
  expect_truth(see_lengths({0, 70, 33}), {3, 2, 15, 70});
  expect_truth(see_causal(std::nullopt) & see_lengths({0, 70, 33}), {3, 2, 15, 70});
  expect_truth(see_causal(0) | see_lengths({0, 70, 33}), {3, 2, 15, 70});
  expect_truth(see_lengths({10, 70, 33}) & see_lengths({20, 5, 33}), {3, 1, 15, 70});
}

TEST(Mask, Documents) {
  const std::vector<std::int64_t> cu_q{0, 5, 5, 30, 43}, cu_k{0, 17, 40, 40, 100};
  const PlanShape shape{2, 1, 50, 110};
  expect_truth(see_documents(cu_q, cu_k, {}), shape);
  expect_truth(see_documents(cu_q, cu_k, see_causal(std::nullopt)), shape);
  expect_truth(see_documents(cu_q, cu_k, (see_window(3, 2, std::nullopt) & see_lengths({60, 110}))),
               shape);
  expect_truth(see_documents({0}, {0}, see_causal(0)), shape);
  // Under | and ~ it is a mask like any other, in the tensors' coordinates.
  expect_truth(~see_same_document(cu_q, cu_k), shape);
  expect_truth(see_same_document(cu_q, cu_k) | see_causal(0), shape);
  expect_truth(see_same_document(cu_q, cu_k) | see_lengths({7, 109}), shape);
}

TEST(Mask, SecondDocumentsCountInTheFirst) {
  const std::vector<std::int64_t> outer_q{0, 20, 45}, outer_k{0, 40, 90}, inner_q{0, 7, 20},
      inner_k{0, 13, 31};
  expect_truth(see_documents(outer_q, outer_k, see_same_document(inner_q, inner_k)),
               {1, 1, 50, 100});
}

// A random tensor whose axes in `broadcast` (a bit each) have size 1; `expanded` of those keep the
// full size with stride 0.
std::shared_ptr<Bytes> random_bytes(const PlanShape& shape, unsigned broadcast, bool expanded,
                                    unsigned seed, int hidden_of_8) {
  std::mt19937 random(seed);
  const Shape full{shape.batch, shape.heads, shape.len_q, shape.len_k};
  auto made = std::make_shared<Bytes>();
  Shape sizes = full;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    if ((broadcast >> axis & 1) != 0) sizes[axis] = std::min<std::int64_t>(full[axis], 1);
  }
  made->bytes.resize(static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]) + 1);
  // In runs, so that some tiles are full and some absent. Any byte but 0 is true.
  unsigned char value = 1;
  for (unsigned char& byte : made->bytes) {
    if (random() % 40 == 0)
      value = static_cast<int>(random() % 8) < hidden_of_8
                  ? 0
                  : static_cast<unsigned char>(1u << random() % 8);
    byte = value;
  }
  made->view =
      TensorView::bhsd(made->bytes.data(), DType::kBool, sizes[0], sizes[1], sizes[2], sizes[3]);
  if (expanded) {
    for (std::size_t axis = 0; axis < 4; ++axis) {
      if (sizes[axis] == 1 && full[axis] > 1)
        made->view.shape[axis] = full[axis], made->view.strides[axis] = 0;
    }
  }
  return made;
}

TEST(Mask, TensorOfEveryBroadcastShape) {
  const PlanShape shape{2, 3, 29, 150};
  for (unsigned broadcast = 0; broadcast < 16; ++broadcast) {
    for (const bool expanded : {false, true}) {
      const auto bytes = random_bytes(shape, broadcast, expanded, broadcast, 4);
      expect_truth(see_bytes(bytes), shape);
      expect_truth(see_documents({0, 9, 29}, {0, 77, 149}, see_bytes(bytes)), shape);
    }
  }
}

TEST(Mask, DocumentsOfOneLengthAreToldApart) {
  // By what a tensor holds at their places.
  const PlanShape shape{1, 1, 28, 140};
  expect_truth(
      see_documents({0, 14, 28}, {0, 70, 140}, see_bytes(random_bytes(shape, 0, false, 5, 4))),
      shape);
  // By their offsets: both have 5 keys left, of 5 and of 25.
  expect_truth(
      see_documents({0, 10, 20}, {0, 5, 30}, (see_causal(std::nullopt) & see_lengths({10}))),
      {1, 1, 20, 30});
}

TEST(Mask, TensorOfAnyStrides) {
  const PlanShape shape{2, 3, 20, 70};
  const auto straight = random_bytes(shape, 0, false, 7, 3);
  // Keys backwards.
  auto backwards = std::make_shared<Bytes>(*straight);
  backwards->view.data = backwards->bytes.data() + 69;
  backwards->view.strides[3] = -1;
  expect_truth(see_bytes(backwards), shape);
  // Rows innermost, batch and heads exchanged.
  auto turned = std::make_shared<Bytes>(*straight);
  turned->view.data = turned->bytes.data();
  turned->view.strides = {20 * 70, 2 * 20 * 70, 1, 20};
  expect_truth(see_bytes(turned), shape);
}

TEST(Mask, TensorIsReadAtEachPlan) {
  const PlanShape shape{1, 1, 20, 70};
  const auto bytes = random_bytes(shape, 0, false, 3, 4);
  const Rule formula = see_bytes(bytes);
  Layout layout;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(layout.build(formula.mask, shape).ok());
    EXPECT_EQ(first_lie(layout, formula), "");
    for (unsigned char& byte : bytes->bytes) byte = byte == 0 ? 1 : 0;
  }
}

TEST(Mask, ComposedWithTheDefault) {
  const PlanShape shape{1, 1, 20, 30};
  EXPECT_TRUE((Mask() & Mask()).hides_nothing());
  EXPECT_TRUE((causal() | Mask()).hides_nothing());
  EXPECT_TRUE((Mask() | causal()).hides_nothing());
  expect_truth(Rule{} & see_causal(0), shape);
  expect_truth(see_causal(0) & Rule{}, shape);
  expect_truth(~Rule{}, shape);
  expect_truth(~~see_causal(0), shape);
  expect_truth(see_causal(0) & ~Rule{}, shape);
}

TEST(Mask, HugeExpressionIsRefused) {
  Mask many = causal(), doubled = causal();
  for (int n = 0; n < 100000; ++n) many = many & window(n, 0);
  for (int n = 0; n < 60; ++n) doubled = doubled | doubled;
  Layout layout;
  for (const Mask& mask : {many, doubled}) {
    const Status status = layout.build(mask & causal(), {1, 1, 20, 20});
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("expression"), std::string::npos) << status.message();
  }
  Mask some = causal();
  for (int n = 0; n < 300; ++n) some = some | window(n, 0);
  EXPECT_TRUE(layout.build(some, {1, 1, 20, 20}).ok());
}

// ---- random expressions

// Evenly over the whole range from the first case on; shrinks towards `low`.
std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1));
}

RC_GTEST_PROP(MaskProperty, AnyExpressionTellsTheTruth, ()) {
  const PlanShape shape{between(1, 3), between(1, 3), between(0, 40), between(0, 140)};
  const std::string text = *rc::gen::resize(rc::kNominalSize, rc::gen::exec(any_mask));
  RC_LOG() << text << " on batch " << shape.batch << ", heads " << shape.heads << ", len_q "
           << shape.len_q << ", len_k " << shape.len_k;
  const Rule rule = parse_rule(text, shape.batch, shape.heads, shape.len_q, shape.len_k);
  static Layout layout;  // reused, as calls do
  const Status status = layout.build(rule.mask, shape);
  if (!status.ok()) RC_FAIL(status.message());
  const std::string lie = first_lie(layout, rule);
  if (!lie.empty()) RC_FAIL(lie);
}

}  // namespace
}  // namespace regard
