// SPDX-License-Identifier: Apache-2.0
// Layouts and plans: how a mask becomes sequences and intervals, how exact these are, and what one
// sees of them.
#include "regard/plan.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/layout.h"

namespace regard {
namespace {

using plan::Interval;
using plan::kRowUnit;
using plan::Layout;
using plan::Sequence;

Layout layout_of(const Mask& mask, const PlanShape& shape) {
  Layout layout;
  const Status status = layout.build(mask, shape);
  EXPECT_TRUE(status.ok()) << status.message();
  return layout;
}

// "[0, 13) full [13, 25) partial"
std::string text(std::span<const Interval> intervals) {
  std::string out;
  for (const Interval& interval : intervals) {
    out += (out.empty() ? "[" : " [") + std::to_string(interval.begin) + ", " +
           std::to_string(interval.end) + (interval.full ? ") full" : ") partial");
  }
  return out;
}

std::string text(const Sequence& s) {
  return "batch " + std::to_string(s.batch) + " from (" + std::to_string(s.q_begin) + ", " +
         std::to_string(s.k_begin) + ") len_q " + std::to_string(s.len_q) + " len_k " +
         std::to_string(s.len_k) + " of " + std::to_string(s.k_rows) + " offset " +
         std::to_string(s.offset);
}

constexpr std::int64_t kLongest = (std::int64_t{1} << 31) - 64;

TEST(Layout, NothingHidden) {
  const Layout layout = layout_of({}, {2, 3, 25, 70});
  EXPECT_EQ(layout.mask, nullptr);
  ASSERT_EQ(layout.sequences.size(), 2u);
  EXPECT_EQ(text(layout.sequences[1]), "batch 1 from (0, 0) len_q 25 len_k 70 of 70 offset 45");
  EXPECT_EQ(layout.units(1), 3);
  EXPECT_EQ(text(layout.unit(1, 2, 2)), "[0, 70) full");
  EXPECT_TRUE(layout.intervals.empty());
  EXPECT_EQ(text(layout_of({}, {1, 1, 25, 0}).unit(0, 0, 0)), "");
}

// A window is no mask exactly where the formula lets every query see every key.
TEST(Layout, WindowsThatHideNothingAreNoMask) {
  int none = 0, some = 0;
  const auto check = [&](std::int64_t left, std::int64_t right, std::optional<std::int64_t> offset,
                         std::int64_t len_q, std::int64_t len_k) {
    bool all = true;
    for (std::int64_t i = 0; i < len_q; ++i) {
      for (std::int64_t j = 0; j < len_k; ++j) {
        const std::int64_t ahead = j - i - offset.value_or(len_k - len_q);
        all &= (left < 0 || ahead >= -left) && (right < 0 || ahead <= right);
      }
    }
    EXPECT_EQ(layout_of(window(left, right, offset), {1, 2, len_q, len_k}).mask == nullptr, all)
        << "left " << left << ", right " << right << ", offset " << offset.value_or(999) << ", "
        << len_q << " x " << len_k;
    ++(all ? none : some);
  };
  for (std::int64_t left = -1; left < 5; ++left) {
    for (std::int64_t right = -1; right < 5; ++right) {
      for (std::int64_t len_q = 1; len_q < 5; ++len_q) {
        for (std::int64_t len_k = 1; len_k < 5; ++len_k) {
          check(left, right, std::nullopt, len_q, len_k);
          for (std::int64_t offset = -5; offset <= 5; ++offset)
            check(left, right, offset, len_q, len_k);
        }
      }
    }
  }
  EXPECT_GT(none, 1000);
  EXPECT_GT(some, 1000);
  EXPECT_EQ(layout_of(causal(), {1, 1, 1, 100}).mask, nullptr);
  EXPECT_NE(layout_of(key_lengths({3}) & causal(), {1, 1, 1, 100}).mask, nullptr);
}

TEST(Layout, CausalEdgesAreExact) {
  const Layout layout = layout_of(causal(), {1, 1, 30, 40});  // row i sees keys to i + 10
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 11) full [11, 22) partial");
  EXPECT_EQ(text(layout.unit(0, 0, 1)), "[0, 23) full [23, 34) partial");
  EXPECT_EQ(text(layout.unit(0, 0, 2)), "[0, 35) full [35, 40) partial");  // six rows only
  EXPECT_EQ(text(layout_of(causal(-13), {1, 1, 30, 40}).unit(0, 0, 0)), "");
  EXPECT_EQ(text(layout_of(causal(1000), {1, 1, 30, 40}).unit(0, 0, 0)), "[0, 40) full");
}

TEST(Layout, WindowEdgesAreExact) {
  const Layout wide = layout_of(window(20, 3, 0), {1, 1, 48, 48});  // row i sees [i - 20, i + 3]
  EXPECT_EQ(text(wide.unit(0, 0, 0)), "[0, 4) full [4, 15) partial");
  EXPECT_EQ(text(wide.unit(0, 0, 2)), "[4, 15) partial [15, 28) full [28, 39) partial");
  const Layout narrow = layout_of(window(2, 0, 0), {1, 1, 48, 48});
  EXPECT_EQ(text(narrow.unit(0, 0, 1)), "[10, 24) partial");
}

TEST(Layout, CompositionJoinsNeighbours) {
  // Two halves of one range become one interval.
  const Layout joined = layout_of(causal(-5) | window(4, 0, 0), {1, 1, 12, 64});
  EXPECT_EQ(text(joined.unit(0, 0, 0)), "[0, 12) partial");
  const Layout all = layout_of(causal(15) | ~causal(15), {1, 1, 12, 64});
  EXPECT_EQ(text(all.unit(0, 0, 0)), "[0, 16) full [16, 27) partial [27, 64) full");
  const Layout both =
      layout_of(causal(0) & ~window(3, -1, 0), {1, 1, 36, 36});  // keys before i - 3
  EXPECT_EQ(text(both.unit(0, 0, 2)), "[0, 21) full [21, 32) partial");
}

TEST(Layout, TensorTilesAreAbsentPartialOrFull) {
  std::vector<unsigned char> bytes(24 * 100, 0);
  const auto set = [&](int i, int j) { bytes[static_cast<std::size_t>(i * 100 + j)] = 1; };
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j < 64; ++j) set(i, j);
  }
  set(3, 99);
  set(20, 40);
  const Layout layout = layout_of(
      tensor(TensorView::bhsd(bytes.data(), DType::kBool, 1, 1, 24, 100)), {1, 1, 24, 100});
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 64) full [96, 100) partial");
  EXPECT_EQ(text(layout.unit(0, 0, 1)), "[32, 64) partial");
}

TEST(Layout, DocumentsBecomeSequences) {
  const Layout layout =
      layout_of(documents({0, 5, 5, 5, 30}, {0, 17, 17, 40, 90}), {2, 1, 33, 100});
  EXPECT_EQ(layout.mask, nullptr);
  ASSERT_EQ(layout.sequences.size(), 8u);  // three that are not empty and the rest, twice
  EXPECT_EQ(text(layout.sequences[0]), "batch 0 from (0, 0) len_q 5 len_k 17 of 17 offset 12");
  EXPECT_EQ(text(layout.sequences[1]), "batch 0 from (5, 17) len_q 0 len_k 23 of 23 offset 23");
  EXPECT_EQ(text(layout.sequences[2]), "batch 0 from (5, 40) len_q 25 len_k 50 of 50 offset 25");
  EXPECT_EQ(text(layout.sequences[7]), "batch 1 from (30, 90) len_q 3 len_k 0 of 10 offset 7");
  EXPECT_EQ(text(layout.unit(2, 0, 2)), "[0, 50) full");
  EXPECT_EQ(text(layout.unit(3, 0, 0)), "");
  // Nothing left over: no sequence for it.
  EXPECT_EQ(layout_of(documents({0, 5, 33}, {0, 17, 100}), {1, 1, 33, 100}).sequences.size(), 2u);
}

TEST(Layout, DocumentsStandAnywhereUnderAnd) {
  const Mask cut = documents({0, 5, 33}, {0, 17, 100});
  for (const Mask& mask : {cut & causal() & window(9, 9), (causal() & window(9, 9)) & cut,
                           causal() & (cut & window(9, 9))}) {
    const Layout layout = layout_of(mask, {1, 1, 33, 100});
    ASSERT_EQ(layout.sequences.size(), 2u);
    EXPECT_EQ(text(layout.unit(1, 0, 2)),
              text(layout_of(causal() & window(9, 9), {1, 1, 28, 83}).unit(0, 0, 2)));
  }
  // Elsewhere they cut nothing.
  EXPECT_EQ(layout_of(cut | causal(), {1, 1, 33, 100}).sequences.size(), 1u);
  EXPECT_EQ(layout_of(~cut & causal(), {1, 1, 33, 100}).sequences.size(), 1u);
}

TEST(Layout, DocumentsAsAMaskAreExact) {
  // Rows 0 to 6, none, 7 to 23: the keys of the empty document in between are seen by nobody.
  const Layout layout =
      layout_of(documents({0, 7, 7, 24}, {0, 20, 30, 64}) | ~Mask(), {1, 1, 30, 70});
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 20) partial [30, 64) partial");
  EXPECT_EQ(text(layout.unit(0, 0, 1)), "[30, 64) full");
  EXPECT_EQ(text(layout.unit(0, 0, 2)), "");
}

TEST(Layout, KeyLengthsClipAndDisappear) {
  const Layout layout = layout_of(key_lengths({20, 0}), {2, 1, 30, 50});
  EXPECT_EQ(layout.mask, nullptr);
  EXPECT_EQ(text(layout.sequences[0]), "batch 0 from (0, 0) len_q 30 len_k 20 of 50 offset 20");
  EXPECT_EQ(text(layout.sequences[1]), "batch 1 from (0, 0) len_q 30 len_k 0 of 50 offset 20");
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 20) full");
  EXPECT_EQ(text(layout.unit(1, 0, 0)), "");
  // Causal's offset is that of the tensors.
  EXPECT_EQ(text(layout_of(key_lengths({25, 0}) & causal(), {2, 1, 30, 50}).unit(0, 0, 0)),
            "[0, 21) full [21, 25) partial");
  // In documents, lengths count in the tensor's rows.
  const Layout cut =
      layout_of(key_lengths({25}) & documents({0, 10, 30}, {0, 20, 50}), {1, 1, 30, 50});
  EXPECT_EQ(text(cut.sequences[0]), "batch 0 from (0, 0) len_q 10 len_k 20 of 20 offset 10");
  EXPECT_EQ(text(cut.sequences[1]), "batch 0 from (10, 20) len_q 20 len_k 5 of 30 offset 10");
}

TEST(Layout, HeadsShareUnlessTheyDiffer) {
  const PlanShape shape{2, 4, 24, 64};
  EXPECT_EQ(layout_of(causal(), shape).mask_heads, 1);
  std::vector<unsigned char> bytes(4 * 24 * 64, 1);
  EXPECT_EQ(layout_of(tensor(TensorView::bhsd(bytes.data(), DType::kBool, 1, 1, 24, 64)) & causal(),
                      shape)
                .mask_heads,
            1);
  bytes[2 * 24 * 64] = 0;
  const Layout layout =
      layout_of(tensor(TensorView::bhsd(bytes.data(), DType::kBool, 1, 4, 24, 64)), shape);
  EXPECT_EQ(layout.mask_heads, 4);
  EXPECT_EQ(text(layout.unit(1, 1, 0)), "[0, 64) full");
  EXPECT_EQ(text(layout.unit(1, 2, 0)), "[0, 32) partial [32, 64) full");
}

TEST(Layout, AlikeSequencesShareTheirIntervals) {
  const Layout layout = layout_of(causal(), {64, 1, 24, 24});
  EXPECT_EQ(layout.offsets.size(), 3u);
  EXPECT_EQ(text(layout.unit(63, 0, 1)), "[0, 13) full [13, 24) partial");
}

TEST(Layout, ReusedLayoutKeepsItsMemory) {
  Layout layout;
  const PlanShape shape{2, 1, 600, 600};
  const Mask mask = causal() & window(100, 0);
  ASSERT_TRUE(layout.build(mask, shape).ok());
  const auto* intervals = layout.intervals.data();
  const auto* sequences = layout.sequences.data();
  const auto* offsets = layout.offsets.data();
  ASSERT_TRUE(layout.build({}, shape).ok());
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 600) full");
  ASSERT_TRUE(layout.build(mask, shape).ok());
  EXPECT_EQ(layout.intervals.data(), intervals);
  EXPECT_EQ(layout.sequences.data(), sequences);
  EXPECT_EQ(layout.offsets.data(), offsets);
  EXPECT_EQ(text(layout.unit(1, 0, 0)), "[0, 1) full [1, 12) partial");
}

TEST(Layout, MemoryGrowsWithRows) {
  const std::int64_t n = 1 << 20;
  for (const Mask& mask : {causal(), window(255, 0), causal() & window(1023, -1)}) {
    const Layout layout = layout_of(mask, {1, 1, n, n});
    EXPECT_EQ(static_cast<std::int64_t>(layout.offsets.size()), (n + kRowUnit - 1) / kRowUnit + 1);
    EXPECT_LE(layout.intervals.size(), 3 * layout.offsets.size());
  }
}

TEST(Layout, LongestSequence) {
  const Layout layout = layout_of(causal(), {1, 1, 13, kLongest});
  EXPECT_EQ(text(layout.unit(0, 0, 1)), "[0, 2147483584) full");
  EXPECT_EQ(text(layout.unit(0, 0, 0)), "[0, 2147483572) full [2147483572, 2147483583) partial");
  std::uint64_t words[2];
  layout.bits(0, 0, 11, 2, kLongest - 8, words);
  EXPECT_EQ(words[0], 0x7fu);
  EXPECT_EQ(words[1], 0xffu);
  // Many rows need no intervals where nothing is hidden.
  EXPECT_EQ(layout_of({}, {1, 1, kLongest, kLongest}).units(0),
            (kLongest + kRowUnit - 1) / kRowUnit);
}

TEST(Layout, ImpossibleShapes) {
  Layout layout;
  for (const PlanShape& shape :
       {PlanShape{-1, 1, 1, 1}, {1, 1, -5, 1}, {1, 1, 1, kLongest + 1}, {1, kLongest + 1, 1, 1}}) {
    const Status status = layout.build({}, shape);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().rfind("plan: (batch, heads, len_q, len_k) is (", 0), 0u)
        << status.message();
  }
}

TEST(Layout, BitsBesideTheSequenceAreZero) {
  for (const Mask& mask : {Mask(), ~causal(-100), causal() | window(3, 3)}) {
    const Layout layout = layout_of(mask, {1, 1, 5, 70});
    std::uint64_t words[4] = {7, 7, 7, 7};
    layout.bits(0, 0, 3, 4, 64, words);
    EXPECT_EQ(words[0] & ~std::uint64_t{0x3f}, 0u);
    EXPECT_EQ(words[2], 0u);  // row 5
    EXPECT_EQ(words[3], 0u);
    layout.bits(0, 0, 0, 1, 128, words);
    EXPECT_EQ(words[0], 0u);
  }
}

Plan plan_of(const Mask& mask, const PlanShape& shape) {
  Plan plan;
  const Status status = Plan::make(mask, shape, &plan);
  EXPECT_TRUE(status.ok()) << status.message();
  return plan;
}

TEST(Plan, DensityCountsTilesThatExist) {
  EXPECT_EQ(Plan().density(), 0);
  EXPECT_EQ(plan_of({}, {2, 3, 25, 70}).density(), 1);
  EXPECT_EQ(plan_of({}, {2, 3, 0, 70}).density(), 0);
  EXPECT_EQ(plan_of(~Mask(), {2, 3, 25, 70}).density(), 0);
  EXPECT_DOUBLE_EQ(plan_of(key_lengths({35, 70}), {2, 3, 25, 70}).density(), 0.75);
  EXPECT_DOUBLE_EQ(plan_of(documents({0, 10, 25}, {0, 20, 70}), {1, 3, 25, 70}).density(),
                   (10 * 20 + 15 * 50) / (25.0 * 70));
  // Unit u of causal sees 12 (u + 1) keys.
  EXPECT_DOUBLE_EQ(plan_of(causal(), {1, 8, 48, 48}).density(), (12 + 24 + 36 + 48) / (4.0 * 48));
  EXPECT_NEAR(plan_of(window(255, 0), {1, 8, 65536, 65536}).density(), 267 / 65536.0, 1e-5);
}

TEST(Plan, Picture) {
  EXPECT_EQ(plan_of(causal(), {1, 1, 4, 4}).picture(), "#...\n##..\n###.\n####\n");
  EXPECT_EQ(plan_of(window(1, 0, 0), {1, 1, 4, 6}).picture(0, 0, 6),
            "#.....\n##....\n.##...\n..##..\n");
  EXPECT_EQ(plan_of(documents({0, 2, 4}, {0, 1, 4}), {1, 1, 4, 4}).picture(),
            "#...\n#...\n.###\n.###\n");
  // Several rows and keys to a character, in the shape of the whole.
  EXPECT_EQ(plan_of(causal(), {1, 1, 1024, 1024}).picture(0, 0, 8),
            "++......\n##++....\n####++..\n######++\n");
  EXPECT_EQ(plan_of(~Mask(), {1, 1, 1024, 1024}).picture(0, 0, 4), "....\n....\n");
  EXPECT_EQ(plan_of({}, {1, 1, 1, 1000}).picture(0, 0, 10), "##########\n");
}

TEST(Plan, PictureOfOneBatchEntryAndHead) {
  std::vector<unsigned char> bytes(2 * 2 * 2, 1);
  bytes[5] = 0;  // head 1, row 0, key 1
  const Plan plan = plan_of(
      key_lengths({2, 1}) & tensor(TensorView::bhsd(bytes.data(), DType::kBool, 1, 2, 2, 2)),
      {2, 2, 2, 2});
  EXPECT_EQ(plan.picture(0, 0), "##\n##\n");
  EXPECT_EQ(plan.picture(0, 1), "++\n##\n");  // a tensor's tiles are 32 keys wide
  EXPECT_EQ(plan.picture(1, 0), "#.\n#.\n");
  EXPECT_EQ(plan.picture(2, 0), "");
  EXPECT_EQ(plan.picture(0, -1), "");
  EXPECT_EQ(Plan().picture(), "");
  EXPECT_EQ(plan_of({}, {1, 1, 0, 5}).picture(), "");
}

TEST(Plan, ErrorLeavesThePlanAlone) {
  Plan plan = plan_of(causal(), {1, 1, 4, 4});
  EXPECT_FALSE(Plan::make(window(-2, 0), {1, 1, 8, 8}, &plan).ok());
  EXPECT_EQ(plan.shape().len_q, 4);
  EXPECT_EQ(plan.picture(), "#...\n##..\n###.\n####\n");
}

// The picture of any size says nothing false about pairs counted one by one.
RC_GTEST_PROP(PlanProperty, PictureOfAnyWidth, ()) {
  const auto between = [](int low, int high) {
    return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1));
  };
  const std::int64_t len_q = between(1, 90), len_k = between(1, 90);
  const int left = between(0, 40), right = between(0, 40), width = between(1, 100);
  const std::string drawing =
      plan_of(window(left, right), {1, 1, len_q, len_k}).picture(0, 0, width);
  const auto columns = static_cast<std::int64_t>(drawing.find('\n'));
  RC_ASSERT(columns == std::min<std::int64_t>(width, len_k));
  const auto lines = static_cast<std::int64_t>(drawing.size()) / (columns + 1);
  for (std::int64_t line = 0; line < lines; ++line) {
    for (std::int64_t column = 0; column < columns; ++column) {
      std::int64_t seen = 0, pairs = 0;
      for (std::int64_t i = line * len_q / lines; i < (line + 1) * len_q / lines; ++i) {
        for (std::int64_t j = column * len_k / columns; j < (column + 1) * len_k / columns;
             ++j, ++pairs) {
          const std::int64_t centre = i + len_k - len_q;
          seen += j >= centre - left && j <= centre + right ? 1 : 0;
        }
      }
      const char drawn = drawing[static_cast<std::size_t>(line * (columns + 1) + column)];
      if (drawn == '.') RC_ASSERT(seen == 0);
      if (drawn == '#') RC_ASSERT(seen == pairs);
      if (drawn == '+') RC_ASSERT(seen < pairs);
    }
  }
}

}  // namespace
}  // namespace regard
