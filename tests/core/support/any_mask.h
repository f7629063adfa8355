// SPDX-License-Identifier: Apache-2.0
// Random mask expressions, as the text that parse_rule() reads. For use inside rapidcheck
// properties.
#pragma once

#include <string>

namespace regard::testing {

std::string any_mask();

}  // namespace regard::testing
