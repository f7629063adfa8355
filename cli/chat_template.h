// SPDX-License-Identifier: Apache-2.0
// How a chat is written as one text: ChatML, which SmolLM2, Qwen2 and others have.
#pragma once

#include <string>

namespace regard::cli {

class ChatTemplate {
 public:
  // Knows ChatML by its Jinja template (blanks and quotes may differ), with or without a system
  // message that stands where none is given. std::runtime_error, which says what was found, for any
  // other; `model` names the model in it.
  static ChatTemplate from_jinja(const std::string& jinja, const std::string& model);

  // The text before the first answer: the system message (or the template's own, where `system` is
  // empty), what the user says, and the beginning of the answer.
  std::string first_turn(const std::string& system, const std::string& user) const;
  // The text from the end of an answer to the next one.
  std::string next_turn(const std::string& user) const;
  // What ends an answer that was stopped.
  static std::string end_of_turn() { return "<|im_end|>"; }

 private:
  std::string default_system_;
};

}  // namespace regard::cli
