// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/byte_alphabet.h"

#include <array>

#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kLargest = 256 + 68;  // 68 bytes do not stand for themselves

struct Alphabet {
  std::array<UChar32, 256> characters{};
  std::array<int, kLargest> bytes{};

  Alphabet() {
    bytes.fill(-1);
    UChar32 next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      characters[static_cast<std::size_t>(byte)] = stands_for_itself(byte) ? byte : next++;
      bytes[static_cast<std::size_t>(characters[static_cast<std::size_t>(byte)])] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) {
    append_utf8(out, alphabet().characters[static_cast<unsigned char>(byte)]);
  }
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  bool known = true;
  each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) {
    const int byte = c < kLargest ? alphabet().bytes[static_cast<std::size_t>(c)] : -1;
    known = known && byte >= 0;
    out += static_cast<char>(byte);
  });
  if (!known) return std::nullopt;
  return out;
}

}  // namespace regard::text
