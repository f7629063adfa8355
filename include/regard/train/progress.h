// SPDX-License-Identifier: Apache-2.0
// Progress for a person, and for programs.
#pragma once

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "regard/train/listener.h"

namespace regard::train {

// On a terminal one line that is drawn again: a bar, the loss, how much of the task's unit a second
// and the time left. Elsewhere a plain line every half minute. Validations and notes have lines of
// their own.
class ProgressLine : public Listener {
 public:
  ProgressLine(std::FILE* out, std::string unit, bool terminal);
  ProgressLine(std::FILE* out, std::string unit);  // asks whether `out` is a terminal

  void on_start(std::int64_t steps_before) override;
  void on_step(const Step& step) override;
  void on_validation(const Validation& validation) override;
  void on_note(const std::string& text) override;
  void on_end() override;

 private:
  void line(const std::string& text);
  void clear();

  std::FILE* out_;
  std::string unit_;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_;
  double tokens_ = 0, nll_ = 0, since_ = -1;  // since the last line; since_ in seconds of training
  double first_fraction_ = -1, first_seconds_ = 0, rate_ = 0;
};

// A file with a JSON object a line: {"kind": "step", ...} for the means of every `every` steps,
// {"kind": "validation", ...}, {"kind": "note", ...}. Lines of steps after the one that training
// goes on from, which will be made again, are taken out first.
class JsonLog : public Listener {
 public:
  JsonLog(std::filesystem::path file, std::int64_t every = 20);

  void on_start(std::int64_t steps_before) override;
  void on_step(const Step& step) override;
  void on_validation(const Validation& validation) override;
  void on_note(const std::string& text) override;

 private:
  void write(const std::string& line);

  std::filesystem::path file_;
  std::int64_t every_;
  std::ofstream out_;
  double tokens_ = 0, loss_ = 0, nll_ = 0, since_ = -1;
};

// "2 h 05 min", "3 min 20 s", "45 s".
std::string duration(double seconds);

}  // namespace regard::train
