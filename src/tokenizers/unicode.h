// SPDX-License-Identifier: Apache-2.0
// Code points, their classes, and UTF-8, by ICU.
#pragma once

#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace regard::text {

// std::invalid_argument, with the place, where `text` is not UTF-8.
void check_utf8(std::string_view text);

// Bytes that are not UTF-8 become U+FFFD, one for each longest part that could have begun a
// character.
std::string replace_invalid_utf8(std::string_view bytes);

inline void append_utf8(std::string& out, UChar32 c) {
  char buffer[U8_MAX_LENGTH];
  std::int32_t length = 0;
  U8_APPEND_UNSAFE(buffer, length, c);
  out.append(buffer, static_cast<std::size_t>(length));
}

std::string to_utf8(const icu::UnicodeString& text);

// Calls function(code point, its first byte, the byte after its last) for each code point of valid
// UTF-8.
template <typename Function>
void each_code_point(std::string_view text, const Function& function) {
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t begin = i;
    UChar32 c;
    U8_NEXT_UNSAFE(text.data(), i, c);
    function(c, begin, i);
  }
}

inline bool is_white_space(UChar32 c) { return u_hasBinaryProperty(c, UCHAR_WHITE_SPACE) != 0; }

// Assigned in Unicode `version` or before. Checkpoints were trained with the `tokenizers` library,
// whose tables of some categories are of an old version: ids are equal only if characters that
// came later are taken as it takes them.
inline bool assigned_by(UChar32 c, int version) {
  UVersionInfo age;
  u_charAge(c, age);
  return age[0] <= version;
}

// The general categories of `mask`, as Unicode 8 had them.
inline bool had_category(UChar32 c, std::uint32_t mask) {
  return (U_GET_GC_MASK(c) & mask) != 0 && assigned_by(c, 8);
}

inline bool is_punctuation(UChar32 c) {
  const bool ascii = (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
                     (c >= 123 && c <= 126);
  // Two that have become a symbol and a mark since.
  return ascii || had_category(c, U_GC_P_MASK) || c == 0x166D || c == 0x111C9;
}
inline bool is_number(UChar32 c) {
  return (U_GET_GC_MASK(c) & (U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK)) != 0;
}
// Letters, marks, digits, connectors: what a regular expression's \w means.
inline bool is_word(UChar32 c) {
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

}  // namespace regard::text
