// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/added_tokens.h"

#include <algorithm>

#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

// The code point before byte `i` of valid UTF-8, and where it begins.
UChar32 before(std::string_view text, std::size_t i, std::size_t& begin) {
  auto at = static_cast<std::int32_t>(i);
  UChar32 c;
  U8_PREV_UNSAFE(text.data(), at, c);
  begin = static_cast<std::size_t>(at);
  return c;
}

UChar32 after(std::string_view text, std::size_t i, std::size_t& end) {
  UChar32 c;
  U8_NEXT_UNSAFE(text.data(), i, c);
  end = i;
  return c;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t ignored;
  return (begin == 0 || !is_word(before(text, begin, ignored))) &&
         (end == text.size() || !is_word(after(text, end, ignored)));
}

}  // namespace

AddedTokens::AddedTokens(const Json& settings, const Normalizer& normalizer) {
  if (settings.is_null()) return;
  for (const Json& one : settings) {
    const auto content = one.at("content").get<std::string>();
    const auto id = one.at("id").get<std::int64_t>();
    ids_[content] = id;
    const bool special = setting(one, "special", false);
    if (special) special_.insert(id);
    const bool normalized = setting(one, "normalized", !special);
    const std::string sought = normalized ? normalizer(content) : content;
    tokens_[id] = sought;
    if (sought.empty()) continue;
    (normalized ? normalized_ : raw_)[sought[0]].push_back(
        {sought, id, setting(one, "single_word", false), setting(one, "lstrip", false),
         setting(one, "rstrip", false)});
  }
  for (Index* index : {&raw_, &normalized_}) {
    for (auto& [byte, tokens] : *index) {
      std::stable_sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) {
        return a.content.size() > b.content.size();
      });
    }
  }
}

// The first match in the text counts, and of those that begin there the longest.
std::vector<AddedTokens::Part> AddedTokens::cut(std::string_view text, const Index& index,
                                                bool first) {
  std::vector<Part> parts;
  std::size_t last = 0;
  const auto add_text = [&](std::size_t end) {
    if (end > last)
      parts.push_back({-1, std::string(text.substr(last, end - last)), first && !last});
  };
  std::size_t i = 0;
  while (i < text.size() && !index.empty()) {
    const auto found = index.find(text[i]);
    const Token* token = nullptr;
    if (found != index.end()) {
      const auto match =
          std::find_if(found->second.begin(), found->second.end(),
                       [&](const Token& one) { return text.substr(i).starts_with(one.content); });
      if (match != found->second.end()) token = &*match;
    }
    if (token == nullptr) {
      ++i;
      continue;
    }
    std::size_t begin = i, end = i + token->content.size();
    i = end;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    std::size_t next;
    while (token->takes_left && begin > last && is_white_space(before(text, begin, next))) {
      begin = next;
    }
    while (token->takes_right && end < text.size() && is_white_space(after(text, end, next))) {
      end = next;
    }
    add_text(begin);
    parts.push_back({token->id, {}, first && begin == 0});
    last = end;
    i = std::max(i, end);
  }
  add_text(text.size());
  return parts;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text,
                                                  const Normalizer& normalizer) const {
  std::vector<Part> out;
  for (Part& part : cut(text, raw_, true)) {
    if (part.id >= 0) {
      out.push_back(std::move(part));
      continue;
    }
    for (Part& inner : cut(normalizer(std::move(part.text)), normalized_, part.first)) {
      out.push_back(std::move(inner));
    }
  }
  return out;
}

}  // namespace regard::text
