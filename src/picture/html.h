// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace regard::picture {

// A text as it stands in HTML, between tags or quotes.
inline std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

}  // namespace regard::picture
