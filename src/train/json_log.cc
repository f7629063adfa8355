// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "files/atomic_file.h"
#include "regard/train/progress.h"

namespace regard::train {

JsonLog::JsonLog(std::filesystem::path file, std::int64_t every)
    : file_(std::move(file)), every_(every) {}

void JsonLog::on_start(std::int64_t steps_before) {
  std::string kept, line;
  std::ifstream in(file_);
  while (steps_before > 0 && std::getline(in, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    // A line that was cut off when the process was killed is no JSON.
    if (json.is_object() && json.value("step", std::int64_t{0}) <= steps_before)
      kept += line + "\n";
  }
  in.close();
  files::write_file(file_, kept);
  out_.open(file_, std::ios::app);
}

void JsonLog::write(const std::string& line) {
  out_ << line << '\n' << std::flush;
  if (!out_) {
    throw std::runtime_error("cannot write " + file_.string() + ": " + std::strerror(errno));
  }
}

void JsonLog::on_step(const Step& step) {
  if (since_ < 0) since_ = step.seconds;
  const auto tokens = static_cast<double>(step.tokens);
  tokens_ += tokens;
  loss_ += step.loss * tokens;
  nll_ += step.nll * tokens;
  if (step.step % every_ != 0) return;
  nlohmann::json json{{"kind", "step"},
                      {"step", step.step},
                      {"epoch", step.epoch},
                      {"loss", loss_ / tokens_},
                      {"nll", nll_ / tokens_},
                      {"learning_rate", step.learning_rate},
                      {"gradient_norm", step.gradient_norm},
                      {"tokens", tokens_},
                      {"seconds", step.seconds}};
  if (step.seconds > since_) json["tokens_per_second"] = tokens_ / (step.seconds - since_);
  write(json.dump());
  tokens_ = loss_ = nll_ = 0;
  since_ = step.seconds;
}

void JsonLog::on_validation(const Validation& v) {
  nlohmann::json json{{"kind", "validation"}, {"step", v.step}, {"epoch", v.epoch},
                      {"nll", v.nll},         {"best", v.best}, {"seconds", v.seconds}};
  for (const auto& [name, value] : v.more) json[name] = value;
  write(json.dump());
}

void JsonLog::on_note(const std::string& text) {
  write(nlohmann::json{{"kind", "note"}, {"text", text}}.dump());
}

}  // namespace regard::train
