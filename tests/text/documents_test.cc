// SPDX-License-Identifier: Apache-2.0
#include "regard/text/documents.h"

#include <gtest/gtest.h>

#include "regard/text/vocabulary.h"
#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::text {
namespace {

using test::message_of;
using test::says;
using test::TemporaryFolder;

std::vector<Document> read(const std::filesystem::path& file, const DocumentOptions& options) {
  std::vector<Document> all;
  read_documents({file}, options, [&](const Document& document) { all.push_back(document); });
  return all;
}

std::string texts(const std::filesystem::path& file, const std::string& form) {
  DocumentOptions options;
  options.form = form;
  std::string joined;
  for (const Document& document : read(file, options)) joined += "<" + document.text + ">";
  return joined;
}

TEST(Documents, EveryForm) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.txt", "one\r\ntwo\n\n \nthree\n");
  EXPECT_EQ(texts(file, "file"), "<one\r\ntwo\n\n \nthree\n>");
  EXPECT_EQ(texts(file, "auto"), texts(file, "file"));
  EXPECT_EQ(texts(file, "lines"), "<one><two><three>");
  EXPECT_EQ(texts(file, "paragraphs"), "<one\ntwo><three>");
  const auto json = folder.write("a.jsonl", "{\"text\": \"x\\ny\"}\n\n{\"text\": \"z\"}\n");
  EXPECT_EQ(texts(json, "auto"), "<x\ny><z>");
  const auto tsv = folder.write("a.tsv", "label\ttext\twith a tab\nb\tc\n");
  EXPECT_EQ(texts(tsv, "auto"), "<text\twith a tab><c>");
}

TEST(Documents, Labels) {
  const TemporaryFolder folder;
  DocumentOptions options;
  options.labels = true;
  const auto tsv = read(folder.write("a.tsv", "good\tx\nbad\ty\n"), options);
  ASSERT_EQ(tsv.size(), 2u);
  EXPECT_EQ(tsv[1].label, "bad");
  EXPECT_TRUE(says(tsv[1].where, "a.tsv, line 2"));
  const auto json = folder.write("a.jsonl", "{\"t\": \"x\", \"stars\": 5}\n");
  options.text_key = "t";
  options.label_key = "stars";
  EXPECT_EQ(read(json, options)[0].label, "5");
  std::filesystem::create_directories(folder / "classes/red/deep");
  std::filesystem::create_directories(folder / "classes/blue");
  folder.write("classes/red/deep/1.txt", "r");
  folder.write("classes/blue/2.txt", "b");
  folder.write("classes/blue/notes.md", "no text");
  const auto classes = read(folder / "classes", options);
  ASSERT_EQ(classes.size(), 2u);
  EXPECT_EQ(classes[0].label + classes[1].label, "bluered");
}

TEST(Documents, SayWhatIsWrongAndWhere) {
  const TemporaryFolder folder;
  DocumentOptions options;
  const auto said = [&](const std::string& name, const std::string& text) {
    return message_of([&] { read(folder.write(name, text), options); });
  };
  EXPECT_TRUE(says(said("a.txt", "caf\xe9"), "a.txt: not UTF-8"));
  EXPECT_TRUE(says(said("a.jsonl", "{\"text\": \"a\"}\n{\"tex"), "line 2: not a JSON object"));
  EXPECT_TRUE(says(said("a.jsonl", "{\"body\": \"a\"}"), "line 1: has no \"text\""));
  EXPECT_TRUE(says(said("a.jsonl", "{\"text\": 7}"), "\"text\" is 7; expected a text"));
  EXPECT_TRUE(says(message_of([&] { read(folder / "none", options); }), "no such file"));
  std::filesystem::create_directories(folder / "empty");
  EXPECT_TRUE(says(message_of([&] { read(folder / "empty", options); }), "no *.txt files"));
  options.labels = true;
  EXPECT_TRUE(says(said("a.tsv", "no label here\n"), "line 1: no tab"));
  EXPECT_TRUE(says(said("a.txt", "a"), "where are its labels?"));
  options.form = "xml";
  EXPECT_TRUE(says(said("a.txt", "a"), "'xml'; expected auto, file"));
}

TEST(Documents, Utf8IsWhatTheStandardSays) {
  for (const char* good : {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"})
    EXPECT_TRUE(is_utf8(good)) << good;
  // Cut short, overlong, a surrogate, beyond the last character, a byte alone.
  for (const char* bad : {"\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(Vocabulary, WithoutBytesHasNoTokenizerJson) {
  VocabularyOptions options;
  options.size = 60;
  options.byte_fallback = false;
  const auto vocabulary = Vocabulary::train_on({"some words in a line"}, options);
  EXPECT_TRUE(says(message_of([&] { vocabulary.tokenizer_json(); }), "without bytes"));
}

}  // namespace
}  // namespace regard::text
