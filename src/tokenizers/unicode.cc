// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/unicode.h"

#include <stdexcept>

namespace regard::text {

void check_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t begin = i;
    UChar32 c;
    U8_NEXT(text.data(), i, text.size(), c);
    if (c < 0) {
      throw std::invalid_argument("text: byte " + std::to_string(begin) +
                                  " is not UTF-8; expected text in UTF-8");
    }
  }
}

std::string to_utf8(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  return to_utf8(icu::UnicodeString::fromUTF8(
      icu::StringPiece(bytes.data(), static_cast<std::int32_t>(bytes.size()))));
}

}  // namespace regard::text
