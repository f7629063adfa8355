// SPDX-License-Identifier: Apache-2.0
#include "regard/generate/session.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace regard::generate {
namespace {

// Tokens that are read at once: enough for the products' speed, few enough to tell of progress.
constexpr std::int64_t kPiece = 1024;

torch::Tensor one_row(std::span<const std::int64_t> tokens) {
  torch::Tensor row = torch::empty({1, static_cast<std::int64_t>(tokens.size())}, torch::kInt64);
  std::copy(tokens.begin(), tokens.end(), row.data_ptr<std::int64_t>());
  return row;
}

}  // namespace

// The session's state as what generation asks for.
class Session::Step : public Stepper {
 public:
  explicit Step(Session& session) : session_(session) {}
  torch::Tensor step(const torch::Tensor& tokens) override {
    if (session_.next_.defined()) return std::exchange(session_.next_, torch::Tensor());
    torch::Tensor logits = session_.model_.step(*session_.state_, tokens);
    ++session_.read_;
    return logits;
  }
  void reorder(const torch::Tensor& rows) override { session_.state_->reorder(rows); }

 private:
  Session& session_;
};

Session::Session(nn::CausalLM& model, std::int64_t room) : model_(model), room_(room) {
  if (room < 1) {
    throw std::invalid_argument("room: " + std::to_string(room) + "; expected at least 1");
  }
  model.eval();
}

Session::~Session() = default;

std::int64_t Session::length() const { return read_ + static_cast<std::int64_t>(pending_.size()); }

void Session::add(std::span<const std::int64_t> tokens) {
  if (const auto count = static_cast<std::int64_t>(tokens.size()); count > room_ - length()) {
    throw std::length_error("no room for " + std::to_string(count) +
                            " tokens: " + std::to_string(length()) + " of " +
                            std::to_string(room_) + " are taken");
  }
  pending_.insert(pending_.end(), tokens.begin(), tokens.end());
  if (!tokens.empty()) next_ = torch::Tensor();
}

bool Session::read_pending(const WriteOptions& options) {
  const auto total = static_cast<std::int64_t>(pending_.size());
  std::int64_t done = 0;
  const auto go_on = [&] { return !options.on_read || options.on_read(done, total); };
  if (state_ == nullptr) {
    // The model reads its source but for the last token: of one token, nothing.
    state_ =
        model_.start(one_row(std::span(pending_).first(1)), torch::ones({1}, torch::kInt64), room_);
  }
  bool reading = go_on();
  while (reading && done < total) {
    const std::int64_t count = std::min(kPiece, total - done);
    const torch::Tensor piece = one_row(std::span(pending_).first(static_cast<std::size_t>(count)));
    if (done + count < total) {
      model_.advance(*state_, piece);
    } else {
      next_ = model_.read(*state_, piece);
    }
    // Noted piece by piece, so that an error in the next one leaves the session as it is.
    pending_.erase(pending_.begin(), pending_.begin() + count);
    read_ += count;
    done += count;
    reading = go_on();
  }
  return reading;
}

Generated Session::write(const WriteOptions& options) {
  const torch::NoGradGuard no_gradients;
  if (pending_.empty() && !next_.defined())
    throw std::invalid_argument("there is no text to continue");
  const std::int64_t before = length(), left = std::min(options.max_tokens, room_ - before);
  if (left < 1 || !read_pending(options)) return {};

  std::int64_t end_token = -1;  // the one that came
  Limits limits{.max_lengths = {left}, .end_token = -1};
  limits.on_token = [&](std::int64_t, std::int64_t token) {
    if (options.end_tokens.contains(token)) {
      end_token = token;
      return false;
    }
    return !options.on_token || options.on_token(token);
  };
  Step step(*this);
  // The first step has its logits already and takes no token.
  const torch::Tensor first = torch::zeros({1}, torch::kInt64);
  std::vector<Generated> all =
      options.sampling ? sample(step, first, limits, options.draw) : greedy(step, first, limits);
  Generated result = std::move(all.front());
  // The text's tokens that no step has taken: the last of those that were chosen.
  pending_ = {result.tokens.back()};
  if (end_token >= 0) {
    result.tokens.pop_back();
    result.ended = true;
  }
  return result;
}

}  // namespace regard::generate
