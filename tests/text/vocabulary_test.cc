// SPDX-License-Identifier: Apache-2.0
#include "regard/text/vocabulary.h"

#include <gtest/gtest.h>

#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::text {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

std::string some_text() {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    text += "the library reads " + std::to_string(i) + " files and writes headers\n";
    text += "die Bibliothek liest " + std::to_string(i) + " Dateien für Übersetzungen\r\n\n";
  }
  return text;
}

Vocabulary small(const TemporaryFolder& folder, bool bytes = true) {
  VocabularyOptions options;
  options.size = 400;
  options.byte_fallback = bytes;
  return Vocabulary::train({folder.write("text", some_text())}, options);
}

TEST(Vocabulary, TextComesBackWhole) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary = small(folder);
  for (const std::string text : {"the library reads 12 files", "Übersetzungen für die Bibliothek",
                                 "never seen: 漢字, ñandú & 😀"}) {
    EXPECT_EQ(vocabulary.decode(vocabulary.encode(text)), text);
  }
  EXPECT_TRUE(vocabulary.encode("").empty());
  EXPECT_TRUE(vocabulary.encode(" \t ").empty());
}

TEST(Vocabulary, SpecialTokensHaveTheirPlacesAndAreNotText) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary = small(folder);
  EXPECT_EQ(vocabulary.piece(kPad), "<pad>");
  EXPECT_EQ(vocabulary.piece(kUnknown), "<unk>");
  EXPECT_EQ(vocabulary.piece(kBegin), "<s>");
  EXPECT_EQ(vocabulary.piece(kEnd), "</s>");
  auto ids = vocabulary.encode("the files");
  ids.insert(ids.begin(), kBegin);
  ids.insert(ids.end(), {kEnd, kPad, kPad});
  EXPECT_EQ(vocabulary.decode(ids), "the files");
  EXPECT_TRUE(says(message_of([&] { vocabulary.decode(std::vector<std::int64_t>{99999}); }),
                   "token 99999"));
}

TEST(Vocabulary, LearningTwiceGivesTheSameAndAFileKeepsIt) {
  const TemporaryFolder folder;
  const Vocabulary one = small(folder), two = small(folder);
  one.save(folder / "vocabulary.model");
  const Vocabulary loaded = Vocabulary::load(folder / "vocabulary.model");
  ASSERT_EQ(one.size(), two.size());
  ASSERT_EQ(one.size(), loaded.size());
  for (std::int64_t id = 0; id < one.size(); ++id) {
    EXPECT_EQ(one.piece(id), two.piece(id));
    EXPECT_EQ(one.piece(id), loaded.piece(id));
  }
}

TEST(Vocabulary, ASmallTextGivesFewerPiecesThanAskedFor) {
  const TemporaryFolder folder;
  VocabularyOptions options;
  options.size = 32000;
  const Vocabulary vocabulary =
      Vocabulary::train({folder.write("text", "one two\nthree\n")}, options);
  EXPECT_LT(vocabulary.size(), 400);
  EXPECT_EQ(vocabulary.decode(vocabulary.encode("two one")), "two one");
}

TEST(Vocabulary, PiecesAreJoinedToWords) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary = small(folder);
  auto ids = vocabulary.encode("the unwritten Bibliothek 漢");
  ids.push_back(kEnd);
  const auto [words, first] = vocabulary.words(ids);
  EXPECT_EQ(words, (std::vector<std::string>{"the", "unwritten", "Bibliothek", "漢", "</s>"}));
  ASSERT_EQ(first.size(), 6u);
  EXPECT_EQ(first.front(), 0u);
  EXPECT_EQ(first[4], ids.size() - 1);
  EXPECT_EQ(first.back(), ids.size());
  EXPECT_GT(first[2] - first[1], 1u) << "a word never seen has several pieces";
}

TEST(Vocabulary, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_TRUE(says(message_of([&] { Vocabulary::load(folder / "none"); }), "none"));
  EXPECT_TRUE(says(message_of([&] { Vocabulary::load(folder.write("junk", "junk")); }),
                   "junk is not a SentencePiece model"));
  EXPECT_TRUE(says(message_of([&] { Vocabulary::load(folder.write("empty", "")); }),
                   "is not a SentencePiece model"));
  small(folder).save(folder / "whole");
  std::filesystem::resize_file(folder / "whole", 1000);
  EXPECT_TRUE(says(message_of([&] { Vocabulary::load(folder / "whole"); }), "whole"));
  EXPECT_TRUE(says(message_of([&] { Vocabulary::train({folder.write("blank", "\n\r\n")}); }),
                   "blank is empty"));
  EXPECT_TRUE(says(message_of([&] { Vocabulary::train({folder / "missing"}); }), "missing"));
  VocabularyOptions options;
  options.size = 100;
  EXPECT_TRUE(says(message_of([&] { Vocabulary::train({folder / "text"}, options); }),
                   "vocabulary size 100: expected at least 261"));
  options = {};
  options.type = "words";
  EXPECT_TRUE(says(message_of([&] { Vocabulary::train({folder / "text"}, options); }),
                   "'words': expected bpe or unigram"));
}

}  // namespace
}  // namespace regard::text
