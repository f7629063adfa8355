// SPDX-License-Identifier: Apache-2.0
#include "picture/script.h"

#include <cstdint>
#include <cstdio>

namespace regard::picture {

std::string script_text(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || c == '"' || c == '\\' || c == '<' || c == '&') {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", byte);
      result += code;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string script_list(const std::vector<std::string>& texts) {
  std::string result = "[";
  for (const auto& text : texts) result += (result.size() > 1 ? "," : "") + script_text(text);
  return result + "]";
}

std::string script_numbers(const std::vector<double>& numbers) {
  std::string result = "[";
  char text[32];
  for (const double number : numbers) {
    std::snprintf(text, sizeof text, "%.3g", number);
    if (result.size() > 1) result += ',';
    result += text;
  }
  return result + "]";
}

std::string png_address(const std::string& png) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result = "data:image/png;base64,";
  for (std::size_t i = 0; i < png.size(); i += 3) {
    const auto byte = [&](std::size_t k) -> std::uint32_t {
      return i + k < png.size() ? static_cast<unsigned char>(png[i + k]) : 0;
    };
    const std::uint32_t bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (std::size_t k = 0; k < 4; ++k)
      result += i + k <= png.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return result;
}

}  // namespace regard::picture
