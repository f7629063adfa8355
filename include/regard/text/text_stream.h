// SPDX-License-Identifier: Apache-2.0
// The text of tokens while they are made, a piece at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "regard/text/tokenizer.h"

namespace regard::text {

// Gives out only whole characters (a token may end within one), and nothing from where one of the
// stop texts begins. All pieces together are decode() of all tokens, up to a stop text. The
// tokenizer must outlive it.
class TextStream {
 public:
  // `before`: the tokens of the text that is continued, which may decide whether the first word
  // begins with a blank. std::invalid_argument for a stop text that is empty.
  explicit TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops = {},
                      std::span<const std::int64_t> before = {});

  // What can be said for sure after one more token, often nothing.
  std::string add(std::int64_t id);
  // What was held back, after the last token.
  std::string finish();

  bool stopped() const { return stopped_; }          // a stop text came: nothing follows
  const std::string& text() const { return text_; }  // all that was given out

 private:
  std::string give(bool last);

  const Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::vector<std::int64_t> ids_;  // those that the next piece may depend on
  std::size_t known_ = 0;          // bytes of decode(ids_) that went to held_
  std::string held_, text_;
  bool stopped_ = false;
};

}  // namespace regard::text
