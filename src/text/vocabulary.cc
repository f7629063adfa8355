// SPDX-License-Identifier: Apache-2.0
#include "regard/text/vocabulary.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "files/atomic_file.h"
#include "text/vocabulary_impl.h"

namespace regard::text {
namespace {

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581

// Lines of all files, at most `options.sample` of them, each with the same chance (reservoir
// sampling, in the files' order where all fit).
std::vector<std::string> sample_lines(const std::vector<std::filesystem::path>& files,
                                      const VocabularyOptions& options) {
  std::vector<std::string> kept;
  std::mt19937_64 random(options.seed);
  std::uint64_t seen = 0;
  const auto room = static_cast<std::uint64_t>(options.sample);
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw std::runtime_error("cannot read " + file.string() + ": no such file?");
    std::string line;
    while (std::getline(in, line)) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.empty()) continue;
      ++seen;
      if (kept.size() < room) {
        kept.push_back(line);
      } else if (const std::uint64_t place = random() % seen; place < room) {
        kept[place] = line;
      }
    }
    if (in.bad()) throw std::runtime_error("cannot read " + file.string() + " to its end");
  }
  return kept;
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  std::size_t next_ = 0;
};

void check(const VocabularyOptions& options) {
  const int least = 5 + (options.byte_fallback ? 256 : 0);
  if (options.size < least) {
    throw std::invalid_argument("vocabulary size " + std::to_string(options.size) +
                                ": expected at least " + std::to_string(least) +
                                (options.byte_fallback ? " (256 of them are bytes)" : ""));
  }
  if (options.type != "bpe" && options.type != "unigram") {
    throw std::invalid_argument("vocabulary type '" + options.type + "': expected bpe or unigram");
  }
  if (options.sample < 1) throw std::invalid_argument("vocabulary sample: expected at least 1");
}

}  // namespace

Vocabulary::Vocabulary(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Vocabulary Vocabulary::train(const std::vector<std::filesystem::path>& files,
                             const VocabularyOptions& options) {
  check(options);
  const std::vector<std::string> lines = sample_lines(files, options);
  if (lines.empty()) {
    throw std::runtime_error("no text to learn a vocabulary from: every line of " +
                             (files.empty() ? "no files" : files.front().string()) + " is empty");
  }
  return train_on(lines, options);
}

Vocabulary Vocabulary::train_on(const std::vector<std::string>& lines,
                                const VocabularyOptions& options) {
  check(options);
  std::unordered_map<std::string, std::string> settings{
      {"model_type", options.type},
      {"vocab_size", std::to_string(options.size)},
      {"hard_vocab_limit", "false"},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"character_coverage", options.byte_fallback ? "0.9999" : "1.0"},
      {"pad_id", std::to_string(kPad)},
      {"unk_id", std::to_string(kUnknown)},
      {"bos_id", std::to_string(kBegin)},
      {"eos_id", std::to_string(kEnd)},
      {"num_threads", "1"},  // sums of several threads would depend on their order
      {"minloglevel", "2"},
  };
  if (options.verbatim) {
    settings["normalization_rule_name"] = "identity";
    settings["remove_extra_whitespaces"] = "false";
  }
  auto impl = std::make_shared<Impl>();
  Lines iterator(lines);
  const auto trained =
      sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &impl->bytes);
  if (!trained.ok()) throw std::runtime_error("learning a vocabulary: " + trained.ToString());
  const auto loaded = impl->processor.LoadFromSerializedProto(impl->bytes);
  if (!loaded.ok()) throw std::runtime_error("learning a vocabulary: " + loaded.ToString());
  return Vocabulary(std::move(impl));
}

Vocabulary Vocabulary::load(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read the vocabulary " + file.string());
  std::ostringstream bytes;
  bytes << in.rdbuf();
  auto impl = std::make_shared<Impl>();
  impl->bytes = bytes.str();
  auto& processor = impl->processor;
  if (impl->bytes.empty() || !processor.LoadFromSerializedProto(impl->bytes).ok()) {
    throw std::runtime_error(file.string() + " is not a SentencePiece model (or is cut off)");
  }
  if (processor.pad_id() != kPad || processor.unk_id() != kUnknown ||
      processor.bos_id() != kBegin || processor.eos_id() != kEnd) {
    throw std::runtime_error(file.string() +
                             ": expected the special tokens pad 0, unknown 1, begin 2, end 3");
  }
  return Vocabulary(std::move(impl));
}

void Vocabulary::save(const std::filesystem::path& file) const {
  files::write_file(file, impl_->bytes);
}

std::int64_t Vocabulary::size() const { return impl_->processor.GetPieceSize(); }

std::vector<std::int64_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = impl_->processor.Encode(std::string(text), &ids);
  if (!status.ok()) throw std::runtime_error("cannot encode a line: " + status.ToString());
  return {ids.begin(), ids.end()};
}

std::string Vocabulary::decode(std::span<const std::int64_t> ids) const {
  std::vector<int> plain;
  plain.reserve(ids.size());
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= size()) {
      throw std::out_of_range("token " + std::to_string(id) + ": the vocabulary has " +
                              std::to_string(size()));
    }
    if (id != kPad && id != kBegin && id != kEnd) plain.push_back(static_cast<int>(id));
  }
  std::string text;
  const auto status = impl_->processor.Decode(plain, &text);
  if (!status.ok()) throw std::runtime_error("cannot decode tokens: " + status.ToString());
  return text;
}

const std::string& Vocabulary::piece(std::int64_t id) const {
  if (id < 0 || id >= size()) {
    throw std::out_of_range("token " + std::to_string(id) + ": the vocabulary has " +
                            std::to_string(size()));
  }
  return impl_->processor.IdToPiece(static_cast<int>(id));
}

Vocabulary::Words Vocabulary::words(std::span<const std::int64_t> ids) const {
  Words result;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool special = ids[i] <= kEnd && ids[i] != kUnknown;
    const bool after_special = i > 0 && ids[i - 1] <= kEnd && ids[i - 1] != kUnknown;
    if (i == 0 || special || after_special || piece(ids[i]).starts_with(kWordStart)) {
      result.first.push_back(i);
    }
  }
  const std::size_t count = result.first.size();
  result.first.push_back(ids.size());
  for (std::size_t w = 0; w < count; ++w) {
    const auto part = ids.subspan(result.first[w], result.first[w + 1] - result.first[w]);
    const bool special = part.front() <= kEnd && part.front() != kUnknown;
    result.words.push_back(special ? piece(part.front()) : decode(part));
  }
  return result;
}

}  // namespace regard::text
