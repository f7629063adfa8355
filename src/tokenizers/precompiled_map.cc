// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/precompiled_map.h"

#include <unicode/brkiter.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

std::string from_base64(const std::string& text) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const std::size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) {
      throw std::runtime_error("precompiled_charsmap is not base64");
    }
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return out;
}

// A unit of the double array (the layout of the darts-clone library, which wrote it).
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset(std::uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

}  // namespace

PrecompiledMap::PrecompiledMap(const std::string& base64) {
  const std::string bytes = from_base64(base64);
  std::uint32_t size = 0;
  if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
  if (bytes.size() < sizeof size + size || size < 4 || size % 4 != 0) {
    throw std::runtime_error("precompiled_charsmap is cut off");
  }
  trie_.resize(size / 4);
  std::memcpy(trie_.data(), bytes.data() + sizeof size, size);
  replacements_ = bytes.substr(sizeof size + size);
}

std::optional<std::string_view> PrecompiledMap::find(std::string_view key) const {
  std::size_t node = offset(trie_[0]);
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= trie_.size()) return std::nullopt;
    const std::uint32_t unit = trie_[node];
    if (label(unit) != byte) return std::nullopt;
    node ^= offset(unit);
    if (node >= trie_.size()) return std::nullopt;
    if (!has_leaf(unit)) continue;
    // The shortest key that fits is taken, as the table's own library does.
    const std::size_t begin = value(trie_[node]);
    if (begin >= replacements_.size()) return std::nullopt;
    const std::size_t end = replacements_.find('\0', begin);
    return std::string_view(replacements_)
        .substr(begin, (end == std::string::npos ? replacements_.size() : end) - begin);
  }
  return std::nullopt;
}

std::string PrecompiledMap::apply(std::string_view text) const {
  std::string out;
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> clusters(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), error));
  UText input = UTEXT_INITIALIZER;
  utext_openUTF8(&input, text.data(), static_cast<std::int64_t>(text.size()), &error);
  if (U_FAILURE(error)) throw std::runtime_error("ICU has no rules for characters' boundaries");
  clusters->setText(&input, error);
  std::int32_t begin = clusters->first();
  for (std::int32_t end = clusters->next(); end != icu::BreakIterator::DONE;
       begin = end, end = clusters->next()) {
    const std::string_view cluster =
        text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    if (cluster.size() < 6) {
      if (const auto whole = find(cluster)) {
        out += *whole;
        continue;
      }
    }
    each_code_point(cluster, [&](UChar32, std::size_t from, std::size_t to) {
      const std::string_view one = cluster.substr(from, to - from);
      out += find(one).value_or(one);
    });
  }
  utext_close(&input);
  return out;
}

}  // namespace regard::text
