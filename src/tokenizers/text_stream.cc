// SPDX-License-Identifier: Apache-2.0
#include "regard/text/text_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace regard::text {
namespace {

// Tokens that are decoded together, so that blanks between words come out as they do in one text.
constexpr std::size_t kMostIds = 64, kKeptIds = 16;
constexpr char kBroken[] = "\xef\xbf\xbd";  // U+FFFD: what a character that is cut decodes to

// Bytes of the text's end that may be the beginning of a stop text.
std::size_t begun(const std::string& text, const std::string& stop) {
  for (std::size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size) {
    if (text.compare(text.size() - size, size, stop, 0, size) == 0) return size;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops,
                       std::span<const std::int64_t> before)
    : tokenizer_(tokenizer), stops_(std::move(stops)) {
  // From a whole character on: tokens may be single bytes.
  std::string decoded;
  for (std::size_t count = std::min(before.size(), kKeptIds);; ++count) {
    const auto kept = before.last(count);
    ids_.assign(kept.begin(), kept.end());
    decoded = tokenizer_.decode(ids_);
    if (count >= std::min(before.size(), kMostIds / 2) || !decoded.starts_with(kBroken)) break;
  }
  known_ = decoded.size();
  for (const std::string& stop : stops_) {
    if (stop.empty()) throw std::invalid_argument("a stop text is empty");
  }
}

std::string TextStream::add(std::int64_t id) {
  if (stopped_) return {};
  ids_.push_back(id);
  const std::string decoded = tokenizer_.decode(ids_);
  if (decoded.size() <= known_ || decoded.ends_with(kBroken)) return {};
  held_ += decoded.substr(known_);
  known_ = decoded.size();
  if (ids_.size() >= kMostIds) {
    ids_.erase(ids_.begin(), ids_.end() - kKeptIds);
    known_ = tokenizer_.decode(ids_).size();
  }
  return give(false);
}

std::string TextStream::finish() {
  if (!stopped_ && !ids_.empty()) {
    const std::string decoded = tokenizer_.decode(ids_);
    if (decoded.size() > known_) held_ += decoded.substr(known_);
    ids_.clear();
    known_ = 0;
  }
  return give(true);
}

std::string TextStream::give(bool last) {
  std::size_t safe = held_.size();
  for (const std::string& stop : stops_) {
    if (const std::size_t at = held_.find(stop); at != std::string::npos) {
      safe = std::min(safe, at);
      stopped_ = true;
    }
  }
  if (!stopped_ && !last) {
    for (const std::string& stop : stops_) {
      safe = std::min(safe, held_.size() - begun(held_, stop));
    }
  }
  std::string piece = held_.substr(0, safe);
  held_ = stopped_ ? std::string() : held_.substr(safe);
  text_ += piece;
  return piece;
}

}  // namespace regard::text
