// SPDX-License-Identifier: Apache-2.0
// Values as the JavaScript and the addresses of a page that stands alone.
#pragma once

#include <string>
#include <vector>

namespace regard::picture {

// A text as a string of JavaScript that may stand in a page.
std::string script_text(const std::string& text);
std::string script_list(const std::vector<std::string>& texts);

// Three digits are more than a colour shows.
std::string script_numbers(const std::vector<double>& numbers);

// The bytes of a PNG file as an address (RFC 2397, base64) that <img> takes.
std::string png_address(const std::string& png);

}  // namespace regard::picture
