// SPDX-License-Identifier: Apache-2.0
// GPT-2's alphabet (Radford et al. 2019): each of the 256 bytes as a visible character, so that any
// sequence of bytes is a text. Printable bytes stand for themselves, the others for U+0100 and up.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace regard::text {

std::string to_byte_alphabet(std::string_view bytes);

// The bytes that `text` stands for; none where one of its characters is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace regard::text
