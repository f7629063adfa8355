// SPDX-License-Identifier: Apache-2.0
#include "regard/train/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace regard::train {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kPlainSeconds = 30, kTerminalSeconds = 0.2;

std::string format(const char* pattern, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string bar(double fraction) {
  constexpr int kWidth = 24;
  const int full = static_cast<int>(std::lround(kWidth * std::clamp(fraction, 0.0, 1.0)));
  return "[" + std::string(static_cast<std::size_t>(full), '#') +
         std::string(static_cast<std::size_t>(kWidth - full), '.') + "]";
}

}  // namespace

std::string duration(double seconds) {
  const auto whole = static_cast<long>(std::max(0.0, std::round(seconds)));
  if (whole >= 3600) return format("%ld h %02ld min", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return format("%ld min %02ld s", whole / 60, whole % 60);
  return format("%ld s", whole);
}

ProgressLine::ProgressLine(std::FILE* out, std::string unit, bool terminal)
    : out_(out), unit_(std::move(unit)), terminal_(terminal) {}

ProgressLine::ProgressLine(std::FILE* out, std::string unit)
    : ProgressLine(out, std::move(unit), isatty(fileno(out)) != 0) {}

void ProgressLine::clear() {
  if (drawn_) std::fputs("\r\033[K", out_);
  drawn_ = false;
}

void ProgressLine::line(const std::string& text) {
  clear();
  std::fputs((text + "\n").c_str(), out_);
  std::fflush(out_);
}

void ProgressLine::on_start(std::int64_t steps_before) {
  if (steps_before > 0) line(format("going on from step %ld", static_cast<long>(steps_before)));
  last_ = Clock::now();
}

void ProgressLine::on_step(const Step& step) {
  if (first_fraction_ < 0) {
    first_fraction_ = step.fraction;
    first_seconds_ = step.seconds;
    since_ = step.seconds;
  }
  tokens_ += static_cast<double>(step.tokens);
  nll_ += step.nll * static_cast<double>(step.tokens);
  const auto now = Clock::now();
  const double waited = std::chrono::duration<double>(now - last_).count();
  if (waited < (terminal_ ? kTerminalSeconds : kPlainSeconds) && step.fraction < 1) return;
  last_ = now;

  const double current = step.seconds > since_ ? tokens_ / (step.seconds - since_) : 0;
  rate_ = rate_ == 0 || !terminal_ ? current : 0.9 * rate_ + 0.1 * current;
  const double done = step.fraction - first_fraction_;
  std::string left;
  if (done > 1e-6) {
    left = ", " + duration((step.seconds - first_seconds_) / done * (1 - step.fraction)) + " left";
  }
  const std::string text =
      format("%3.0f%% epoch %.2f, step %ld, loss %.3f, %.0f %s/s", 100 * step.fraction, step.epoch,
             static_cast<long>(step.step), nll_ / tokens_, rate_, unit_.c_str()) +
      left;
  if (terminal_) {
    clear();
    std::fputs((bar(step.fraction) + text).c_str(), out_);
    std::fflush(out_);
    drawn_ = true;
  } else {
    line(text);
  }
  tokens_ = nll_ = 0;
  since_ = step.seconds;
}

void ProgressLine::on_validation(const Validation& v) {
  std::string text = format("validation at step %ld (epoch %.2f): loss %.4f",
                            static_cast<long>(v.step), v.epoch, v.nll);
  for (const auto& [name, value] : v.more) {
    text += format(", %s %.*f", name.c_str(), std::abs(value) < 2 ? 4 : 2, value);
  }
  line(text + (v.best ? ", the best so far" : ""));
}

void ProgressLine::on_note(const std::string& text) { line(text); }

void ProgressLine::on_end() { clear(); }

}  // namespace regard::train
