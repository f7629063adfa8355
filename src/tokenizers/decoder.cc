// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/decoder.h"

#include <array>
#include <optional>
#include <utility>

#include "tokenizers/byte_alphabet.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

using Tokens = std::vector<std::string>;

std::string joined(const Tokens& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t i = 0; (i = text.find(what, i)) != std::string::npos; i += with.size()) {
    text.replace(i, what.size(), with);
  }
}

Tokens byte_level(const Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += from_byte_alphabet(token).value_or(token);
  return {replace_invalid_utf8(bytes)};
}

// English text without the blanks that word pieces leave before signs and contractions.
std::string cleaned(std::string text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kReplacements = {
      {{" .", "."},
       {" ?", "?"},
       {" !", "!"},
       {" ,", ","},
       {" ' ", "'"},
       {" n't", "n't"},
       {" 'm", "'m"},
       {" do not", " don't"},
       {" 's", "'s"},
       {" 've", "'ve"},
       {" 're", "'re"}}};
  for (const auto& [what, with] : kReplacements) replace_all(text, what, with);
  return text;
}

Decoder word_piece(const Json& settings) {
  const auto prefix = setting<std::string>(settings, "prefix", "##");
  const bool cleans = setting(settings, "cleanup", true);
  return [=](Tokens tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0) {
        if (token.starts_with(prefix)) {
          token.erase(0, prefix.size());
        } else {
          token.insert(0, 1, ' ');
        }
      }
      if (cleans) token = cleaned(std::move(token));
    }
    return tokens;
  };
}

Decoder metaspace(const Json& settings) {
  const auto mark = setting<std::string>(settings, "replacement", "\xe2\x96\x81");
  const auto scheme = setting<std::string>(
      settings, "prepend_scheme", setting(settings, "add_prefix_space", true) ? "always" : "never");
  return [=](Tokens tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i == 0 && scheme != "never" && tokens[i].starts_with(mark)) {
        tokens[i].erase(0, mark.size());
      }
      replace_all(tokens[i], mark, " ");
    }
    return tokens;
  };
}

// The byte of a token <0x00> to <0xFF>.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

// Runs of byte tokens become text; a run that is not UTF-8 becomes one U+FFFD a byte.
Tokens byte_fallback(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    std::int32_t i = 0;
    const auto size = static_cast<std::int32_t>(bytes.size());
    bool valid = true;
    while (i < size && valid) {
      UChar32 c;
      U8_NEXT(bytes.data(), i, size, c);
      valid = c >= 0;
    }
    if (valid) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xef\xbf\xbd");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

Decoder strip(const Json& settings) {
  const auto content = settings.at("content").get<std::string>();
  const auto start = setting<std::size_t>(settings, "start", 0);
  const auto stop = setting<std::size_t>(settings, "stop", 0);
  return [=](Tokens tokens) {
    for (std::string& token : tokens) {
      for (std::size_t i = 0; i < start && token.starts_with(content); ++i) {
        token.erase(0, content.size());
      }
      for (std::size_t i = 0; i < stop && token.ends_with(content); ++i) {
        token.erase(token.size() - content.size());
      }
    }
    return tokens;
  };
}

Decoder replace(const Json& settings) {
  const Pattern pattern = pattern_of(settings.at("pattern"));
  const auto content = settings.at("content").get<std::string>();
  return [=](Tokens tokens) {
    for (std::string& token : tokens) {
      std::string out;
      for (const Cut& cut : pattern(token)) {
        out += cut.match ? content : token.substr(cut.begin, cut.end - cut.begin);
      }
      token = std::move(out);
    }
    return tokens;
  };
}

Decoder end_of_word(const Json& settings) {
  const auto suffix = setting<std::string>(settings, "suffix", "</w>");
  return [suffix](Tokens tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    }
    return tokens;
  };
}

Decoder sequence(const Json& settings) {
  std::vector<Decoder> steps;
  for (const Json& one : settings.at("decoders")) steps.push_back(decoder_of(one));
  return [steps](Tokens tokens) {
    for (const Decoder& step : steps) tokens = step(std::move(tokens));
    return tokens;
  };
}

}  // namespace

Decoder decoder_of(const Json& settings) {
  if (settings.is_null()) {
    return [](Tokens tokens) {
      for (std::size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, 1, ' ');
      return tokens;
    };
  }
  const std::string type = type_of(settings, "the decoder");
  if (type == "Sequence") return sequence(settings);
  if (type == "ByteLevel") return byte_level;
  if (type == "WordPiece") return word_piece(settings);
  if (type == "Metaspace") return metaspace(settings);
  if (type == "ByteFallback") return byte_fallback;
  if (type == "Fuse") return [](const Tokens& tokens) { return Tokens{joined(tokens)}; };
  if (type == "Strip") return strip(settings);
  if (type == "Replace") return replace(settings);
  if (type == "BPEDecoder") return end_of_word(settings);
  not_served("a decoder", type);
}

}  // namespace regard::text
