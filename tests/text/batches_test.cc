// SPDX-License-Identifier: Apache-2.0
#include "regard/text/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::text {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

// A corpus of `lines` pairs of different lengths: line n of the target counts what stands in the
// source.
struct Fixture {
  explicit Fixture(int lines) {
    std::string source, target;
    for (int line = 1; line <= lines; ++line) {
      for (int word = 0; word <= (line * 7919) % 23; ++word) source += "word ";
      source += std::to_string(line) + "\n";
      target += "line " + std::to_string(line) + "\n";
    }
    folder.write("source", source);
    folder.write("target", target);
    VocabularyOptions options;
    options.size = 300;
    vocabulary = std::make_unique<Vocabulary>(
        Vocabulary::train({folder / "source", folder / "target"}, options));
    corpus = std::make_unique<ParallelCorpus>(folder / "source", folder / "target");
  }

  TemporaryFolder folder;
  std::unique_ptr<Vocabulary> vocabulary;
  std::unique_ptr<ParallelCorpus> corpus;
};

std::vector<std::vector<std::int64_t>> lines_of_epoch(BatchStream& stream) {
  std::vector<std::vector<std::int64_t>> all;
  while (const auto batch = stream.next()) {
    all.emplace_back();
    for (const TokenPair& pair : *batch) all.back().push_back(pair.line);
  }
  return all;
}

TEST(ParallelCorpus, BlocksAreReadInAnyOrder) {
  const Fixture f(700);
  ASSERT_EQ(f.corpus->lines(), 700);
  ASSERT_EQ(f.corpus->blocks(), 3);
  std::vector<std::int64_t> seen;
  for (const std::int64_t block : {2, 0, 1}) {
    f.corpus->read_block(block, [&](std::int64_t line, const auto& source, const auto& target) {
      seen.push_back(line);
      EXPECT_EQ(target, "line " + std::to_string(line));
      EXPECT_TRUE(source.ends_with(" " + std::to_string(line)));
    });
  }
  EXPECT_EQ(seen.size(), 700u);
  EXPECT_EQ(seen.front(), 513);
  EXPECT_EQ(seen.back(), 512);
}

TEST(ParallelCorpus, LastLineWithoutEndAndCarriageReturns) {
  const TemporaryFolder folder;
  const ParallelCorpus corpus(folder.write("a", "one\r\n\r\nthree"),
                              folder.write("b", "eins\nzwei\ndrei\n"));
  std::vector<std::string> sources;
  corpus.read_block(0, [&](std::int64_t, const auto& s, const auto&) { sources.push_back(s); });
  EXPECT_EQ(sources, (std::vector<std::string>{"one", "", "three"}));
}

TEST(ParallelCorpus, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const auto two = folder.write("two", "1\n2\n"), three = folder.write("three", "1\n2\n3\n");
  const std::string said = message_of([&] { ParallelCorpus(two, three); });
  EXPECT_TRUE(says(said, "two has 2 lines"));
  EXPECT_TRUE(says(said, "three has 3"));
  EXPECT_TRUE(says(message_of([&] { ParallelCorpus(folder / "none", two); }), "none"));
  EXPECT_TRUE(says(message_of([&] { ParallelCorpus(folder.path(), two); }), "a folder"));
  const auto empty = folder.write("empty", "");
  EXPECT_TRUE(says(message_of([&] { ParallelCorpus(empty, empty); }), "no lines"));
  const ParallelCorpus corpus(three, three);
  folder.write("three", "1\n");
  EXPECT_TRUE(
      says(message_of([&] { corpus.read_block(0, [](auto, auto&, auto&) {}); }), "became shorter"));
}

TEST(BatchStream, EveryPairComesOnceInBatchesOfBoundedSize) {
  const Fixture f(1000);
  BatchOptions options;
  options.tokens = 200;
  options.max_length = 100;
  options.chunk_pairs = 512;
  BatchStream stream(*f.corpus, *f.vocabulary, options);
  std::set<std::int64_t> seen;
  std::int64_t positions = 0, tokens = 0;
  while (const auto batch = stream.next()) {
    std::size_t longest_source = 0, longest = 0;
    for (const TokenPair& pair : *batch) {
      EXPECT_TRUE(seen.insert(pair.line).second) << "line " << pair.line << " came twice";
      EXPECT_EQ(f.vocabulary->decode(pair.target), "line " + std::to_string(pair.line));
      longest_source = std::max(longest_source, pair.source.size());
      longest = std::max({longest, pair.source.size() + 1, pair.target.size() + 1});
      tokens += static_cast<std::int64_t>(pair.source.size()) + 1;
    }
    EXPECT_EQ(batch->front().source.size(), longest_source);
    EXPECT_LE(longest * batch->size(), 200u);
    positions += static_cast<std::int64_t>((longest_source + 1) * batch->size());
  }
  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_LT(static_cast<double>(positions), 1.2 * static_cast<double>(tokens)) << "much padding";
}

TEST(BatchStream, ASeedFixesTheOrderAndEpochsDiffer) {
  const Fixture f(1000);
  BatchOptions options;
  options.tokens = 400;
  options.chunk_pairs = 256;
  BatchStream one(*f.corpus, *f.vocabulary, options), two(*f.corpus, *f.vocabulary, options);
  const auto first = lines_of_epoch(one), again = lines_of_epoch(two), second = lines_of_epoch(one);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, second);
  options.seed = 2;
  BatchStream other(*f.corpus, *f.vocabulary, options);
  EXPECT_NE(first, lines_of_epoch(other));
}

TEST(BatchStream, GoesOnFromAnyPosition) {
  const Fixture f(600);
  BatchOptions options;
  options.tokens = 400;
  options.chunk_pairs = 256;
  BatchStream stream(*f.corpus, *f.vocabulary, options);
  for (int epoch = 0; epoch < 2; ++epoch) {
    while (true) {
      const auto position = stream.position();
      BatchStream resumed(*f.corpus, *f.vocabulary, options);
      resumed.seek(position);
      const auto expected = stream.next(), found = resumed.next();
      ASSERT_EQ(expected.has_value(), found.has_value());
      EXPECT_EQ(stream.position(), resumed.position());
      if (!expected) break;
      ASSERT_EQ(expected->size(), found->size());
      EXPECT_EQ(expected->front().line, found->front().line);
      EXPECT_EQ(expected->back().line, found->back().line);
    }
  }
}

TEST(BatchStream, EmptyAndVeryLongLinesAreLeftOutAndCounted) {
  const TemporaryFolder folder;
  std::string source = "one\n\nthree\n   \nfive\n", target = "eins\nzwei\n\nvier\n";
  for (int word = 0; word < 10'000; ++word) target += "word ";
  const ParallelCorpus corpus(folder.write("source", source),
                              folder.write("target", target + "\n"));
  VocabularyOptions vocabulary_options;
  vocabulary_options.size = 300;
  const Vocabulary vocabulary = Vocabulary::train({folder / "source"}, vocabulary_options);
  BatchStream stream(corpus, vocabulary, {});
  for (int epoch = 0; epoch < 2; ++epoch) {
    EXPECT_EQ(lines_of_epoch(stream), (std::vector<std::vector<std::int64_t>>{{1}}));
  }
  EXPECT_EQ(stream.left_out().empty, 3);
  EXPECT_EQ(stream.left_out().first_empty, 2);
  EXPECT_EQ(stream.left_out().too_long, 1);
  EXPECT_EQ(stream.left_out().first_too_long, 5);
  EXPECT_GE(stream.left_out().longest, 10'000);
}

TEST(BatchStream, SaysWhatIsWrong) {
  const Fixture f(10);
  BatchOptions options;
  options.max_length = 2;
  BatchStream nothing(*f.corpus, *f.vocabulary, options);
  EXPECT_TRUE(says(message_of([&] { nothing.next(); }), "no pair that can be used"));
  options.max_length = 300;
  options.tokens = 300;
  EXPECT_TRUE(says(message_of([&] { BatchStream(*f.corpus, *f.vocabulary, options); }),
                   "batch tokens 300: expected more than max_length (300)"));
  BatchStream stream(*f.corpus, *f.vocabulary, {});
  EXPECT_TRUE(says(message_of([&] { stream.seek({0, 7, 0}); }), "position of other data"));
}

}  // namespace
}  // namespace regard::text
