// SPDX-License-Identifier: Apache-2.0
// Attention in parts with offsets equals attention over the whole: any mask, biases, softcap,
// dtype, GQA; queries and keys cut anywhere.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <sstream>

#include "core/plan/layout.h"
#include "tests/core/support/any_mask.h"
#include "tests/core/support/case.h"
#include "tests/core/support/error_bar.h"
#include "tests/core/support/parts.h"

namespace regard::testing {
namespace {

// Of one case: cuts by `seed`. Empty where all is within the bars of the whole.
std::string check_parts(const Case& c, int cuts, PartBackward way) {
  const Problem problem = make_problem(c);
  Random random(static_cast<std::uint64_t>(c.seed) + 5);
  PartsRequest request;
  request.query_edges = random_edges(random, problem.len_q(), cuts);
  request.key_edges = random_edges(random, problem.len_k(), cuts);
  request.way = way;

  std::vector<Tensor> d_bias;
  for (const BiasTensor& bias : problem.biases) {
    d_bias.emplace_back(kF64, bias.values.shape());
    d_bias.back().fill(0);
  }
  PartHooks hooks;
  hooks.options = options_of_part;
  hooks.gradients = [](const Problem& part) {
    std::vector<Tensor> gradients;
    for (const BiasTensor& bias : part.biases) gradients.emplace_back(kF32, bias.values.shape());
    return gradients;
  };
  hooks.add = [&](const Part& place, const std::vector<Tensor>& gradients) {
    for (std::size_t n = 0; n < gradients.size(); ++n) {
      const Shape& whole = d_bias[n].shape();
      const std::int64_t row = whole[2] == 1 ? 0 : place.query_begin,
                         key = whole[3] == 1 ? 0 : place.key_begin;
      for_each_index(gradients[n].shape(), [&](auto b, auto h, auto i, auto j) {
        d_bias[n].set(b, h, row + i, key + j,
                      d_bias[n].at(b, h, row + i, key + j) + gradients[n].at(b, h, i, j));
      });
    }
  };
  Results results = run_in_parts(problem, request, hooks);
  if (!results.error.empty()) return results.error;
  for (const Tensor& gradient : d_bias) results.d_bias.push_back(gradient.as(kF32));
  return errors_of(problem, results, score_size(problem));
}

Case any_small_case() {
  const auto in = [](std::int64_t low, std::int64_t high) {
    return *rc::gen::inRange<std::int64_t>(low, high + 1);
  };
  Case c;
  c.seed = in(0, 1000000);
  c.dtype = static_cast<int>(
      *rc::gen::weightedElement<DType>({{4, kF32}, {2, kBf16}, {1, kF16}, {2, kF64}}));
  c.batch = in(1, 2), c.heads_kv = in(1, 2), c.group = in(1, 3);
  c.len_q = in(0, 140), c.len_k = in(0, 260);
  c.dim = in(1, 70), c.dim_v = in(1, 70);
  c.mask = any_mask();
  for (std::int64_t n = in(0, 2); n > 1; --n) {
    CaseBias bias;
    bias.axes = static_cast<int>(in(0, 15));
    bias.before = static_cast<int>(in(0, 1));
    c.biases.push_back(bias);
  }
  c.softcap = *rc::gen::weightedElement<double>({{2, 0}, {1, 3}});
  c.d_lse = static_cast<int>(in(0, 1));
  return bounded(std::move(c), 3e6);
}

TEST(Parts, AnyCutOfAnyAttentionIsTheWhole) {
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  if (std::getenv("RC_PARAMS") == nullptr) params.maxSuccess = 150;
  const auto property = [&] {
    const Case c = *rc::gen::exec(any_small_case);
    const int cuts = *rc::gen::inRange(0, 5);
    const PartBackward way = *rc::gen::element(PartBackward::kMerged, PartBackward::kOfTheWhole);
    if (const std::string error = check_parts(c, cuts, way); !error.empty()) {
      std::ostringstream text;
      text << c << " in parts (" << cuts << " cuts): " << error;
      RC_FAIL(text.str());
    }
  };
  rc::detail::TestMetadata metadata;
  metadata.id = metadata.description = "any cut of any attention is the whole";
  const auto result = rc::detail::checkTestable(property, metadata, params);
  if (!result.template is<rc::detail::SuccessResult>()) {
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    FAIL() << text.str();
  }
}

TEST(Parts, LongOnesOfEachMask) {
  for (const char* mask :
       {"c", "w40:3", "w20:-1@7", "c.k3.&", "t5:0", "t5:3", "i3:2:4", "g7.w30:0.|", "b2:0", "x9",
        "e4", "a3:0", "r5", "p3.c", "p8", "d6.c.&"}) {
    for (const PartBackward way : {PartBackward::kMerged, PartBackward::kOfTheWhole}) {
      Case c;
      c.seed = 31, c.batch = 2, c.heads_kv = 2, c.group = 2, c.len_q = 150, c.len_k = 500,
      c.dim = 16, c.dim_v = 24, c.d_lse = 1;
      c.mask = mask;
      if (mask[0] == 'p') c.batch = 1;
      EXPECT_EQ(check_parts(c, 4, way), "") << mask;
    }
  }
}

TEST(Parts, APlanOfAPartHoldsItsOwnTilesAlone) {
  plan::Layout layout;
  // Rows 4096 to 4607 of 8192 see keys up to their own; of keys 4224 to 4479 those of the block's
  // rows from 4224 on.
  ASSERT_TRUE(layout.build(causal(), {1, 1, 512, 256}, Part{4096, 4224, 8192, 8192}).ok());
  ASSERT_EQ(layout.sequences.size(), 1u);
  EXPECT_TRUE(layout.unit(0, 0, 0).empty());
  const auto last = layout.unit(0, 0, layout.units(0) - 1);
  ASSERT_EQ(last.size(), 1u);
  EXPECT_TRUE(last[0].full && last[0].begin == 0 && last[0].end == 256);
  ASSERT_TRUE(layout.build(causal(), {1, 1, 512, 256}, Part{4096, 5000, 8192, 8192}).ok());
  EXPECT_TRUE(layout.intervals.empty());
}

TEST(Parts, APlanOfAPartIsDrawnAsThatPieceOfTheWhole) {
  Plan whole, part;
  ASSERT_TRUE(Plan::make(causal() & key_lengths({9}), {1, 1, 10, 12}, &whole).ok());
  ASSERT_TRUE(
      Plan::make(causal() & key_lengths({9}), {1, 1, 4, 6}, &part, Part{3, 4, 10, 12}).ok());
  std::string piece;
  const std::string drawing = whole.picture(0, 0, 12);
  for (std::size_t line = 3; line < 7; ++line) piece += drawing.substr(line * 13 + 4, 6) + "\n";
  EXPECT_EQ(part.picture(0, 0, 6), piece);
}

TEST(Parts, MisfitsAreRefused) {
  Tensor q(kF32, {1, 1, 10, 4}), k(kF32, {1, 1, 20, 4}), out(kF32, {1, 1, 10, 4});
  const auto message = [&](const Part& part, const Plan* plan = nullptr) {
    Options options;
    options.part = part;
    return forward({q.view(), k.view(), k.view()}, options, {out.mutable_view(), {}, {}, {}},
                   default_executor(), plan)
        .message();
  };
  EXPECT_EQ(message({5, 0, 15, 20}), "");
  EXPECT_EQ(message({6, 0, 15, 20}),
            "part: 10 queries from 6 on; expected them inside the whole's 15");
  EXPECT_EQ(message({0, -1, 15, 50}),
            "part: 20 keys from -1 on; expected them inside the whole's 50");
  EXPECT_EQ(message({0, INT64_MAX, 15, 50}),
            "part: 20 keys from 9223372036854775807 on; expected them inside the whole's 50");
  EXPECT_EQ(message({0, 0, 10, INT64_MAX}),
            "part: a whole of 9223372036854775807 keys; expected 0 to 2147483584");
  Plan plan;
  ASSERT_TRUE(Plan::make(causal(), {1, 1, 10, 20}, &plan, Part{5, 0, 15, 20}).ok());
  EXPECT_EQ(message({5, 0, 15, 20}, &plan), "");
  EXPECT_EQ(message({4, 0, 15, 20}, &plan),
            "plan: made for a part (query_begin 5, key_begin 0, len_q 15, len_k 20), the options "
            "ask for a part (query_begin 4, key_begin "
            "0, len_q 15, "
            "len_k 20)");
  // Lengths of a mask are the whole's.
  Options options;
  options.mask = key_lengths({21});
  options.part = Part{0, 0, 10, 20};
  EXPECT_EQ(
      forward({q.view(), k.view(), k.view()}, options, {out.mutable_view(), {}, {}, {}}).message(),
      "key_lengths: length 21 of batch entry 0; expected 0 to 20, the keys there are");
}

}  // namespace
}  // namespace regard::testing
