// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_template.h"

#include <stdexcept>
#include <string_view>

namespace regard::cli {
namespace {

// ChatML as canonical() gives it. The default system message stands between kDefault and its end.
constexpr std::string_view kLoop = "{%formessageinmessages%}",
                           kDefault =
                               "{%ifloop.firstandmessages[0]['role']!='system'%}"
                               "{{'<|im_start|>system\n",
                           kDefaultEnd = "<|im_end|>\n'}}{%endif%}",
                           kRest =
                               "{{'<|im_start|>'+message['role']+'\n'+message['content']+"
                               "'<|im_end|>'+'\n'}}{%endfor%}"
                               "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}";

// A Jinja template without what does not matter: blanks outside of strings, trimming signs, which
// quotes there are, and how a line's end is written.
std::string canonical(const std::string& jinja) {
  std::string out;
  char quote = 0;
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const char c = jinja[i];
    const char next = i + 1 < jinja.size() ? jinja[i + 1] : '\0';
    if (quote != 0) {
      if (c == '\\' && next != '\0') {
        out += next == 'n' ? '\n' : next;
        ++i;
      } else if (c == quote) {
        out += '\'';
        quote = 0;
      } else {
        out += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      out += '\'';
    } else if (c == '-' && (next == '%' || next == '}' ||
                            (!out.empty() && (out.back() == '%' || out.back() == '{')))) {
      continue;
    } else if (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
      out += c;
    }
  }
  return out;
}

std::string message(const std::string& role, const std::string& content) {
  return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
}

}  // namespace

ChatTemplate ChatTemplate::from_jinja(const std::string& jinja, const std::string& model) {
  if (jinja.empty()) {
    throw std::runtime_error(model +
                             " has no chat template: it was not trained to chat. regard generate "
                             "continues a text with it");
  }
  const std::string text = canonical(jinja);
  const auto refuse = [&]() -> ChatTemplate {
    constexpr std::size_t kShown = 160;
    throw std::runtime_error(
        model +
        ": of chat templates, ChatML (<|im_start|>role ... <|im_end|>) is served; its own " +
        "begins " + jinja.substr(0, kShown) + (jinja.size() > kShown ? " ..." : ""));
  };
  ChatTemplate result;
  std::string_view rest = text;
  if (!rest.starts_with(kLoop)) return refuse();
  rest.remove_prefix(kLoop.size());
  if (rest.starts_with(kDefault)) {
    rest.remove_prefix(kDefault.size());
    const std::size_t end = rest.find(kDefaultEnd);
    if (end == std::string_view::npos) return refuse();
    result.default_system_ = rest.substr(0, end);
    rest.remove_prefix(end + kDefaultEnd.size());
  }
  if (rest != kRest) return refuse();
  return result;
}

std::string ChatTemplate::first_turn(const std::string& system, const std::string& user) const {
  const std::string& first = system.empty() ? default_system_ : system;
  return (first.empty() ? "" : message("system", first)) + message("user", user) +
         "<|im_start|>assistant\n";
}

std::string ChatTemplate::next_turn(const std::string& user) const {
  return "\n" + message("user", user) + "<|im_start|>assistant\n";
}

}  // namespace regard::cli
