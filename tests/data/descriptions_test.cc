// SPDX-License-Identifier: Apache-2.0
#include "data/descriptions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "data/process.h"
#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::data {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

constexpr const char* kEnglish =
    "Package: one\n"
    "Description-md5: aa\n"
    "Description-en: reads  files\n"
    " It reads files,\n"
    " and more.\n"
    " .\n"
    " It can:\n"
    "  * read\n"
    "    slowly\n"
    "  * write\n"
    " The end.\n"
    "\n"
    "Package: two\n"
    "Description-md5: bb\n"
    "Description-en: a game\n"
    " Play.\n"
    "\n"
    "Package: again\n"
    "Description-md5: aa\n"
    "Description-en: reads  files\n"
    " It reads files,\n"
    "\n"
    "Package: nothing\n"
    "Description-md5: cc\n"
    "Description-en: short alone\n";

constexpr const char* kGerman =
    "Package: one\n"
    "Description-md5: aa\n"
    "Description-de: liest Dateien\n"
    " Es liest Dateien und mehr.\n"
    " .\n"
    " Es kann:\n"
    "  * langsam lesen\n"
    "  * schreiben\n"
    " Das Ende.\n"
    "\n"
    "Package: two\n"
    "Description-md5: bb\n"
    "Description-de: a game\n"
    " Spielen.\n"
    " .\n"
    " Mehr.\n";

Descriptions english() { return parse_descriptions({"en", kEnglish}); }
Descriptions german() { return parse_descriptions({"de", kGerman}); }

std::vector<Pair> all(const Split& split) {
  std::vector<Pair> pairs = split.train;
  pairs.insert(pairs.end(), split.valid.begin(), split.valid.end());
  pairs.insert(pairs.end(), split.test.begin(), split.test.end());
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

TEST(Descriptions, AreParsedToParagraphs) {
  const Descriptions found = english();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found.at("aa").short_line, "reads files");
  EXPECT_EQ(found.at("aa").paragraphs,
            (std::vector<std::string>{"It reads files, and more.", "It can:", "* read slowly",
                                      "* write", "The end."}));
  EXPECT_TRUE(found.at("cc").paragraphs.empty());
}

TEST(Descriptions, PairsAreShortLinesAndParagraphsOfEqualNumber) {
  const Translations pairs = translations(english(), english(), german());
  EXPECT_EQ(all(pairs.short_lines), (std::vector<Pair>{{"reads files", "liest Dateien"}}))
      << "'a game' is not translated";
  EXPECT_EQ(all(pairs.paragraphs),
            (std::vector<Pair>{{"* read slowly", "* langsam lesen"},
                               {"* write", "* schreiben"},
                               {"It can:", "Es kann:"},
                               {"It reads files, and more.", "Es liest Dateien und mehr."},
                               {"The end.", "Das Ende."}}))
      << "'two' has one paragraph in English and two in German";
  const Translations turned = translations(english(), german(), english());
  EXPECT_EQ(all(turned.short_lines), (std::vector<Pair>{{"liest Dateien", "reads files"}}));
}

TEST(Descriptions, SummariesAreLongTextsWithTheirShortLines) {
  EXPECT_EQ(all(summaries(english())),
            (std::vector<Pair>{
                {"It reads files, and more. It can: * read slowly * write The end.", "reads files"},
                {"Play.", "a game"}}));
}

TEST(Descriptions, PartsAreOfTheTextAloneAndOfTheirSizes) {
  int counts[3] = {};
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = "paragraph " + std::to_string(i);
    EXPECT_EQ(part_of(text), part_of(text));
    ++counts[static_cast<int>(part_of(text))];
  }
  EXPECT_NEAR(counts[1], 600, 120);
  EXPECT_NEAR(counts[2], 600, 120);
  EXPECT_EQ(part_of(""), Part::kValid);  // whoever changes the hash changes everyone's test sets
  EXPECT_EQ(part_of("paragraph 7"), Part::kTrain);
}

TEST(Descriptions, SplitsAreWrittenAsParallelFiles) {
  const TemporaryFolder folder;
  write_split({.train = {{"a", "b"}, {"c", "d"}}, .valid = {}, .test = {{"e", "f"}}},
              folder / "out", "en", "de");
  std::ifstream train(folder / "out/train.de");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(train), {}), "b\nd\n");
  EXPECT_TRUE(std::filesystem::exists(folder / "out/valid.en"));
  EXPECT_TRUE(std::filesystem::exists(folder / "out/test.en"));
}

TEST(DebianLists, AreReadFromAFolder) {
  const TemporaryFolder folder;
  folder.write("archive_i18n_Translation-en", kEnglish);
  folder.write("archive_i18n_Translation-de", kGerman);
  folder.write("archive_i18n_Translation-de_CH", "other");
  const auto lists = read_debian_lists({"en", "de"}, folder.path());
  ASSERT_EQ(lists.size(), 2u);
  EXPECT_EQ(parse_descriptions(lists[1]).size(), 2u);
  EXPECT_TRUE(says(message_of([&] { read_debian_lists({"fr"}, folder.path()); }),
                   "no package descriptions in language 'fr'"));
  EXPECT_TRUE(says(message_of([&] { read_debian_lists({"../x"}, folder.path()); }),
                   "language '../x': expected a code"));
  EXPECT_TRUE(says(message_of([&] { read_debian_lists({"en"}, folder / "none"); }),
                   "none: No such file or directory"));
}

TEST(Process, GivesOutputMessagesAndStatus) {
  const Finished finished = run({"sh", "-c", "echo $WORD; echo two >&2; exit 3"}, {"WORD=one"});
  EXPECT_EQ(finished.output, "one\n");
  EXPECT_EQ(finished.messages, "two\n");
  EXPECT_EQ(finished.status, 3);
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"}).status, 137);
  EXPECT_EQ(
      run({"sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"}).output.size(),
      300'000u);
  EXPECT_TRUE(says(message_of([] { run({"no-such-program"}); }), "cannot start no-such-program"));
}

}  // namespace
}  // namespace regard::data
