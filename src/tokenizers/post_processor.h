// SPDX-License-Identifier: Apache-2.0
// Post-processors: the special tokens that a model expects around a text or a pair of texts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "regard/text/tokenizer.h"
#include "tokenizers/settings.h"

namespace regard::text {

// What surrounds the texts: a special token's id, or the place of the first or second text.
struct TemplatePart {
  enum class Kind { kToken, kFirst, kSecond } kind;
  std::int64_t id = 0;
  std::int64_t type_id = 0;
};

struct Template {
  std::vector<TemplatePart> single = {{TemplatePart::Kind::kFirst}};
  std::vector<TemplatePart> pair = {{TemplatePart::Kind::kFirst},
                                    {TemplatePart::Kind::kSecond, 0, 1}};

  Encoding apply(const std::vector<std::int64_t>& first) const;
  Encoding apply(const std::vector<std::int64_t>& first,
                 const std::vector<std::int64_t>& second) const;
};

// The `post_processor` of a tokenizer.json.
Template template_of(const Json& settings);

}  // namespace regard::text
