// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/normalizer.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "tokenizers/byte_alphabet.h"
#include "tokenizers/pattern.h"
#include "tokenizers/precompiled_map.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

// Of what Unicode 11 had: characters that came later stay as they are, as in the `tokenizers`
// library, whose tables are of that version.
Normalizer unicode_form(const std::string& form) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* newest = form == "NFC"    ? icu::Normalizer2::getNFCInstance(error)
                                   : form == "NFD"  ? icu::Normalizer2::getNFDInstance(error)
                                   : form == "NFKC" ? icu::Normalizer2::getNFKCInstance(error)
                                                    : icu::Normalizer2::getNFKDInstance(error);
  static const icu::UnicodeSet kKnown = [] {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet known(u"[:age=11.0:]", status);
    if (U_FAILURE(status)) throw std::runtime_error("ICU has no ages of characters");
    known.freeze();
    return known;
  }();
  if (U_FAILURE(error)) throw std::runtime_error("ICU has no data for " + form);
  const std::shared_ptr<const icu::Normalizer2> normalizer =
      std::make_shared<icu::FilteredNormalizer2>(*newest, kKnown);
  return [normalizer](const std::string& text) {
    UErrorCode status = U_ZERO_ERROR;
    return to_utf8(normalizer->normalize(icu::UnicodeString::fromUTF8(text), status));
  };
}

// Code point by code point: no context, so that a capital sigma at a word's end becomes the usual
// small one.
std::string lowercase(const std::string& text) {
  std::string out;
  each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) {
    if (c < 128) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else {
      out += to_utf8(icu::UnicodeString(c).toLower(icu::Locale::getRoot()));
    }
  });
  return out;
}

// Nonspacing marks as Unicode 8 had them, marks as Unicode 9 had them (tokenizers/unicode.h says
// why); the code points named here have changed their category since.
bool is_nonspacing_mark(UChar32 c) {
  if (c == 0x1734) return true;
  return had_category(c, U_GC_MN_MASK) && c != 0x1885 && c != 0x1886 && c != 0xA9BD && c != 0x111C9;
}

bool is_mark(UChar32 c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;
  return (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0 && assigned_by(c, 9) && c != 0x111C9;
}

std::string without(const std::string& text, bool (*predicate)(UChar32)) {
  std::string out;
  each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
    if (!predicate(c)) out.append(text, begin, end - begin);
  });
  return out;
}

// Control characters and U+FFFD go, every white space becomes a blank.
std::string clean(const std::string& text) {
  constexpr std::uint32_t kControls = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK;
  std::string out;
  each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
    const bool line = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!line && had_category(c, kControls))) return;
    if (line || is_white_space(c)) {
      out += ' ';
    } else {
      out.append(text, begin, end - begin);
    }
  });
  return out;
}

// The blocks of ideographs, as BERT's own code lists them.
bool is_chinese(UChar32 c) {
  static constexpr std::array<std::pair<UChar32, UChar32>, 8> kBlocks = {{{0x4E00, 0x9FFF},
                                                                          {0x3400, 0x4DBF},
                                                                          {0x20000, 0x2A6DF},
                                                                          {0x2A700, 0x2B73F},
                                                                          {0x2B740, 0x2B81F},
                                                                          {0x2B920, 0x2CEAF},
                                                                          {0xF900, 0xFAFF},
                                                                          {0x2F800, 0x2FA1F}}};
  for (const auto& [first, last] : kBlocks) {
    if (c >= first && c <= last) return true;
  }
  return false;
}

std::string with_blanks_around_chinese(const std::string& text) {
  std::string out;
  each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
    const bool chinese = is_chinese(c);
    if (chinese) out += ' ';
    out.append(text, begin, end - begin);
    if (chinese) out += ' ';
  });
  return out;
}

// BERT's (Devlin et al. 2018, arXiv 1810.04805): its flags say what is done.
Normalizer bert(const Json& settings) {
  const bool cleans = setting(settings, "clean_text", true);
  const bool chinese = setting(settings, "handle_chinese_chars", true);
  const bool lower = setting(settings, "lowercase", true);
  const bool strip = setting(settings, "strip_accents", lower);
  const Normalizer decompose = unicode_form("NFD");
  return [=](std::string text) {
    if (cleans) text = clean(text);
    if (chinese) text = with_blanks_around_chinese(text);
    if (strip) text = without(decompose(std::move(text)), is_nonspacing_mark);
    if (lower) text = lowercase(text);
    return text;
  };
}

Normalizer sequence(const Json& settings) {
  std::vector<Normalizer> steps;
  for (const Json& one : settings.at("normalizers")) steps.push_back(normalizer_of(one));
  return [steps](std::string text) {
    for (const Normalizer& step : steps) text = step(std::move(text));
    return text;
  };
}

Normalizer replace(const Json& settings) {
  const Pattern pattern = pattern_of(settings.at("pattern"));
  const auto content = settings.at("content").get<std::string>();
  return [pattern, content](const std::string& text) {
    std::string out;
    for (const Cut& cut : pattern(text)) {
      if (cut.match) {
        out += content;
      } else {
        out.append(text, cut.begin, cut.end - cut.begin);
      }
    }
    return out;
  };
}

Normalizer strip(const Json& settings) {
  const bool left = setting(settings, "strip_left", true);
  const bool right = setting(settings, "strip_right", true);
  return [left, right](const std::string& text) {
    std::size_t first = std::string::npos, last = 0;
    each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
      if (is_white_space(c)) return;
      if (first == std::string::npos) first = begin;
      last = end;
    });
    if (first == std::string::npos) return std::string(left || right ? "" : text);
    const std::size_t from = left ? first : 0, to = right ? last : text.size();
    return text.substr(from, to - from);
  };
}

// What SentencePiece's training did to text before its own table: odd blanks and controls.
std::string nmt(const std::string& text) {
  std::string out;
  each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
    const bool removed = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                         c == 0x7F || c == 0x8F || c == 0x9F;
    if (removed) return;
    const bool blank = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    if (blank) {
      out += ' ';
    } else {
      out.append(text, begin, end - begin);
    }
  });
  return out;
}

}  // namespace

Normalizer normalizer_of(const Json& settings) {
  if (settings.is_null()) return [](std::string text) { return text; };
  const std::string type = type_of(settings, "the normalizer");
  if (type == "Sequence") return sequence(settings);
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") return unicode_form(type);
  if (type == "Lowercase") return lowercase;
  if (type == "StripAccents") {
    return [](const std::string& text) { return without(text, is_mark); };
  }
  if (type == "BertNormalizer") return bert(settings);
  if (type == "Replace") return replace(settings);
  if (type == "Strip") return strip(settings);
  if (type == "Nmt") return nmt;
  if (type == "Prepend") {
    return [prefix = settings.at("prepend").get<std::string>()](const std::string& text) {
      return text.empty() ? text : prefix + text;
    };
  }
  if (type == "Precompiled") {
    return [map = PrecompiledMap(settings.at("precompiled_charsmap").get<std::string>())](
               const std::string& text) { return map.apply(text); };
  }
  if (type == "ByteLevel") return [](const std::string& text) { return to_byte_alphabet(text); };
  not_served("a normalizer", type);
}

}  // namespace regard::text
