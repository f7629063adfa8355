// SPDX-License-Identifier: Apache-2.0
#include "regard/generate/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "tests/generate/table_stepper.h"
#include "tests/support/messages.h"

namespace regard::generate {
namespace {

using test::message_of;
using test::says;
using test::TableScore;
using test::TableStepper;
using Tokens = std::vector<std::int64_t>;

constexpr std::int64_t kVocabulary = 6;

torch::Tensor table(std::uint64_t seed, double spread = 2.0) {
  torch::manual_seed(seed);
  return torch::randn({kVocabulary, kVocabulary, kVocabulary}) * spread;
}

torch::Tensor firsts(const Tokens& tokens) { return torch::tensor(tokens, torch::kInt64); }

Limits limits(std::int64_t rows, std::int64_t length) {
  return {.max_lengths = Tokens(static_cast<std::size_t>(rows), length)};
}

// Every sequence of at most `length` tokens: those that end, and those of full length.
void every_sequence(std::int64_t length, const std::function<void(const Tokens&)>& visit) {
  Tokens tokens;
  const std::function<void()> grow = [&] {
    for (std::int64_t token = 0; token < kVocabulary; ++token) {
      tokens.push_back(token);
      const bool ended = token == nn::kEnd;
      if (ended || static_cast<std::int64_t>(tokens.size()) == length) {
        visit(tokens);
      } else {
        grow();
      }
      tokens.pop_back();
    }
  };
  grow();
}

TEST(Greedy, TakesTheLikeliestTokenOfEachRow) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    const torch::Tensor logits = table(seed);
    TableStepper stepper(logits, 4);
    const auto results = greedy(stepper, firsts({0, 1, 2, 4}), limits(4, 12));
    std::int64_t row = 0;
    for (const std::int64_t first : {0, 1, 2, 4}) {
      Tokens expected;
      std::int64_t before = 0, last = first;
      while (expected.size() < 12) {
        const auto token = logits[before][last].argmax().item<std::int64_t>();
        expected.push_back(token);
        if (token == nn::kEnd) break;
        before = last;
        last = token;
      }
      const Generated& result = results[static_cast<std::size_t>(row++)];
      EXPECT_NEAR(result.log_probability, TableScore(logits)(first, expected), 1e-4);
      EXPECT_EQ(result.ended, expected.back() == nn::kEnd);
      if (result.ended) expected.pop_back();
      EXPECT_EQ(result.tokens, expected);
    }
  }
}

TEST(Greedy, RowsLeaveTheBatchWhenTheyEnd) {
  torch::Tensor logits = torch::zeros({kVocabulary, kVocabulary, kVocabulary});
  logits.index_put_({torch::indexing::Slice(), 4, nn::kEnd}, 9);  // after 4 comes the end
  logits.index_put_({torch::indexing::Slice(), 5, 5}, 9);         // after 5 comes 5
  TableStepper stepper(logits, 3);
  const auto results = greedy(stepper, firsts({4, 5, 5}), {.max_lengths = {10, 10, 3}});
  EXPECT_TRUE(results[0].ended);
  EXPECT_TRUE(results[0].tokens.empty());
  EXPECT_EQ(results[1].tokens, Tokens(10, 5));
  EXPECT_EQ(results[2].tokens, Tokens(3, 5));
  EXPECT_FALSE(results[2].ended);
  EXPECT_EQ(stepper.rows_read, 3 + 2 + 2 + 7);
}

TEST(BeamSearch, ABeamThatKeepsAllFindsTheBestOfAllSequences) {
  for (const double penalty : {0.0, 1.0}) {
    for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
      const torch::Tensor logits = table(seed);
      TableStepper stepper(logits, 1);
      // Nothing is cut off: there are fewer than 1300 sequences of at most four tokens.
      const auto found = beam_search(stepper, firsts({2}), limits(1, 4),
                                     {.beams = 1300, .length_penalty = penalty});
      const TableScore log_probability(logits);
      double best = -std::numeric_limits<double>::infinity();
      std::size_t count = 0;
      every_sequence(4, [&](const Tokens& tokens) {
        ++count;
        const double score =
            log_probability(2, tokens) / std::pow(static_cast<double>(tokens.size()), penalty);
        best = std::max(best, score);
      });
      ASSERT_EQ(found[0].size(), count);
      EXPECT_NEAR(found[0][0].score, best, 1e-5);
      EXPECT_TRUE(std::is_sorted(found[0].begin(), found[0].end(),
                                 [](auto& a, auto& b) { return a.score > b.score; }));
    }
  }
}

TEST(BeamSearch, OneBeamIsGreedyWhereItEnds) {
  const torch::Tensor logits = table(7);
  TableStepper one(logits, 3), other(logits, 3);
  const auto beams = beam_search(one, firsts({2, 4, 5}), limits(3, 8), {.beams = 1});
  const auto plain = greedy(other, firsts({2, 4, 5}), limits(3, 8));
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_EQ(beams[row][0].tokens, plain[row].tokens);
    EXPECT_NEAR(beams[row][0].log_probability, plain[row].log_probability, 1e-5);
  }
}

TEST(BeamSearch, BatchMatesChangeNothing) {
  const torch::Tensor logits = table(11, 1.0);
  const Tokens first{0, 1, 2, 4, 5};
  const Limits each{.max_lengths = {9, 3, 12, 1, 7}};
  TableStepper together(logits, 5);
  const auto all = beam_search(together, firsts(first), each, {.beams = 3});
  for (std::size_t row = 0; row < first.size(); ++row) {
    TableStepper alone(logits, 1);
    const auto one =
        beam_search(alone, firsts({first[row]}), limits(1, each.max_lengths[row]), {.beams = 3});
    ASSERT_EQ(one[0].size(), all[row].size());
    for (std::size_t i = 0; i < one[0].size(); ++i) {
      EXPECT_EQ(one[0][i].tokens, all[row][i].tokens);
      EXPECT_EQ(one[0][i].score, all[row][i].score);
    }
  }
}

TEST(Sampling, DrawsWithTheModelsProbabilities) {
  const torch::Tensor logits = table(3, 1.0);
  constexpr std::int64_t kRows = 5000;
  for (const double temperature : {1.0, 0.5}) {
    TableStepper stepper(logits, kRows);
    const auto drawn = sample(stepper, torch::full({kRows}, 4, torch::kInt64), limits(kRows, 1),
                              {.temperature = temperature});
    std::vector<double> share(kVocabulary);
    for (const Generated& one : drawn) {
      share[static_cast<std::size_t>(one.ended ? nn::kEnd : one.tokens[0])] += 1.0 / kRows;
    }
    const torch::Tensor p = torch::softmax(logits[0][4] / temperature, -1);
    for (std::int64_t token = 0; token < kVocabulary; ++token) {
      // five standard deviations of a share of 5000
      EXPECT_NEAR(share[static_cast<std::size_t>(token)], p[token].item<double>(), 0.036);
    }
  }
}

TEST(Sampling, TopKAndTopPKeepTheLikeliest) {
  torch::Tensor logits = torch::full({kVocabulary, kVocabulary, kVocabulary}, -30.0);
  logits.select(2, 0) = std::log(0.5);
  logits.select(2, 1) = std::log(0.3);
  logits.select(2, 4) = std::log(0.15);
  logits.select(2, 5) = std::log(0.05);
  const auto tokens = [&](SamplingOptions options) {
    TableStepper stepper(logits, 2000);
    std::map<std::int64_t, int> counts;
    for (const auto& one :
         sample(stepper, torch::full({2000}, 2, torch::kInt64), limits(2000, 1), options)) {
      ++counts[one.tokens[0]];
    }
    std::vector<std::int64_t> kept;
    for (const auto& [token, count] : counts) kept.push_back(token);
    return kept;
  };
  EXPECT_EQ(tokens({}), (Tokens{0, 1, 4, 5}));
  EXPECT_EQ(tokens({.top_k = 2}), (Tokens{0, 1}));
  EXPECT_EQ(tokens({.top_p = 0.7}), (Tokens{0, 1}));
  EXPECT_EQ(tokens({.top_p = 0.4}), (Tokens{0}));
  EXPECT_EQ(tokens({.top_k = 1, .top_p = 0.99}), (Tokens{0}));
}

TEST(Sampling, ASeedAndARowsNameFixWhatIsDrawn) {
  const torch::Tensor logits = table(5, 1.0);
  const auto draw = [&](std::vector<std::uint64_t> names, std::uint64_t seed) {
    TableStepper stepper(logits, static_cast<std::int64_t>(names.size()));
    const auto count = static_cast<std::int64_t>(names.size());
    const auto all = sample(stepper, torch::full({count}, 2, torch::kInt64), limits(count, 20),
                            {.seed = seed, .rows = names});
    std::vector<Tokens> tokens;
    for (const auto& one : all) tokens.push_back(one.tokens);
    return tokens;
  };
  const auto three = draw({7, 8, 9}, 1);
  EXPECT_EQ(draw({9}, 1)[0], three[2]);
  EXPECT_EQ(draw({9, 7}, 1)[1], three[0]);
  EXPECT_NE(draw({7, 8, 9}, 2), three);
  EXPECT_NE(three[0], three[1]);
}

TEST(Generate, SaysWhatIsWrong) {
  const torch::Tensor logits = table(1);
  TableStepper stepper(logits, 1);
  const auto said = [&](auto&& call) { return message_of(call); };
  EXPECT_TRUE(says(said([&] { greedy(stepper, torch::zeros({1}), limits(1, 2)); }),
                   "first_tokens: expected (rows) of int64"));
  EXPECT_TRUE(says(said([&] { greedy(stepper, firsts({2}), limits(2, 2)); }), "max_lengths"));
  EXPECT_TRUE(says(said([&] { greedy(stepper, firsts({2}), limits(1, 0)); }), "max_lengths: 0"));
  EXPECT_TRUE(says(said([&] { beam_search(stepper, firsts({2}), limits(1, 2), {.beams = 0}); }),
                   "beams: 0; expected 1 to 65536"));
  EXPECT_TRUE(says(said([&] { sample(stepper, firsts({2}), limits(1, 2), {.temperature = 0}); }),
                   "temperature"));
  EXPECT_TRUE(
      says(said([&] { sample(stepper, firsts({2}), limits(1, 2), {.top_p = 1.5}); }), "top_p"));
  EXPECT_TRUE(
      says(said([&] { sample(stepper, firsts({2}), limits(1, 2), {.top_k = -1}); }), "top_k"));
  TableStepper broken(logits * std::numeric_limits<float>::quiet_NaN(), 1);
  EXPECT_TRUE(says(said([&] { greedy(broken, firsts({2}), limits(1, 2)); }), "NaN"));
}

}  // namespace
}  // namespace regard::generate
