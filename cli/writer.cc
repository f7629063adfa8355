// SPDX-License-Identifier: Apache-2.0
#include "cli/writer.h"

#include <chrono>
#include <cstdio>

#include "cli/interrupt.h"
#include "regard/text/text_stream.h"
#include "tokenizers/unicode.h"

namespace regard::cli {

Written write(generate::Session& session, const LanguageModel& model,
              generate::WriteOptions options, const std::vector<std::string>& stops,
              std::span<const std::int64_t> continued,
              const std::function<void(const std::string&)>& give) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  Written written;
  text::TextStream stream(model.tokenizer, stops, continued);
  ReadingLine line;
  const auto begin = Clock::now();
  auto read = begin;
  options.on_read = [&](std::int64_t done, std::int64_t of) {
    line.show(done, of);
    written.read = done;
    read = Clock::now();
    return !interrupt_flag();
  };
  options.on_token = [&](std::int64_t token) {
    if (const std::string piece = stream.add(token); !piece.empty()) give(piece);
    return !stream.stopped() && !interrupt_flag();
  };
  generate::Generated result = session.write(options);
  if (const std::string piece = stream.finish(); !piece.empty()) give(piece);
  written.read_seconds = std::chrono::duration<double>(read - begin).count();
  written.write_seconds = since(read);
  written.text = stream.text();
  written.tokens = std::move(result.tokens);
  written.log_probability = result.log_probability;
  written.ended_by = result.ended       ? "end"
                     : stream.stopped() ? "stop"
                     : interrupt_flag() ? "interrupt"
                                        : "length";
  return written;
}

void check_utf8(const std::string& text, const std::string& name) {
  try {
    text::check_utf8(text);
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what();  // "text: byte ..."
    throw std::invalid_argument(name + message.substr(message.find(':')));
  }
}

std::string speed(const Written& written) {
  const auto rate = [](double count, double seconds) { return seconds > 0 ? count / seconds : 0; };
  const auto count = static_cast<double>(written.tokens.size());
  char text[160];
  std::snprintf(text, sizeof text,
                "%lld tokens read in %.2f s (%.0f/s), %zu written in %.2f s (%.1f/s)",
                static_cast<long long>(written.read), written.read_seconds,
                rate(static_cast<double>(written.read), written.read_seconds),
                written.tokens.size(), written.write_seconds, rate(count, written.write_seconds));
  return text;
}

std::vector<std::int64_t> encode(const LanguageModel& model, const std::string& text,
                                 const std::string& name, bool begins) {
  if (text.empty()) throw std::invalid_argument(name + ": empty; expected some text");
  check_utf8(text, name);
  try {
    std::vector<std::int64_t> ids = model.tokenizer.encode(text, begins).ids;
    if (ids.empty()) throw std::invalid_argument("a text without tokens");
    return ids;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(name + ": " + error.what());
  }
}

}  // namespace regard::cli
