// SPDX-License-Identifier: Apache-2.0
#include "cli/span.h"

#include <algorithm>
#include <stdexcept>

namespace regard::cli {
namespace {

// A pair's ids around those of the document.
struct Frame {
  text::Encoding before, after;
  std::vector<std::int64_t> document;
  std::int64_t type = 0;  // of the document's tokens
};

Frame frame_of(const text::Tokenizer& tokenizer, const std::string& question,
               const std::string& document) {
  Frame frame;
  frame.document = tokenizer.encode(document, /*add_special_tokens=*/false).ids;
  const text::Encoding pair = tokenizer.encode_pair(question, document);
  const std::size_t count = frame.document.size();
  if (count == 0) throw std::invalid_argument("the document has no tokens");
  std::size_t behind = 0;  // tokens after the document
  while (count + behind < pair.ids.size() &&
         !std::equal(frame.document.begin(), frame.document.end(),
                     pair.ids.end() - static_cast<std::ptrdiff_t>(count + behind))) {
    ++behind;
  }
  const auto begin = static_cast<std::ptrdiff_t>(pair.ids.size() - count - behind);
  const auto end = begin + static_cast<std::ptrdiff_t>(count);
  frame.before = {{pair.ids.begin(), pair.ids.begin() + begin},
                  {pair.type_ids.begin(), pair.type_ids.begin() + begin}};
  frame.after = {{pair.ids.begin() + end, pair.ids.end()},
                 {pair.type_ids.begin() + end, pair.type_ids.end()}};
  frame.type = pair.type_ids[static_cast<std::size_t>(begin)];
  return frame;
}

text::Encoding window_of(const Frame& frame, std::size_t begin, std::size_t end) {
  text::Encoding window = frame.before;
  const auto from = frame.document.begin();
  window.ids.insert(window.ids.end(), from + static_cast<std::ptrdiff_t>(begin),
                    from + static_cast<std::ptrdiff_t>(end));
  window.type_ids.resize(window.ids.size(), frame.type);
  window.ids.insert(window.ids.end(), frame.after.ids.begin(), frame.after.ids.end());
  window.type_ids.insert(window.type_ids.end(), frame.after.type_ids.begin(),
                         frame.after.type_ids.end());
  return window;
}

struct Best {
  double probability = -1;
  std::int64_t begin = 0, end = 0;
};

// Of logits (tokens, 2) of the first token, which says "no answer", and of the
// document's: the likeliest beginning and end, places among the document's
// tokens.
Best best_span(const torch::Tensor& logits, std::int64_t longest) {
  const torch::Tensor likely = torch::softmax(logits.to(torch::kFloat64), 0).contiguous();
  const auto p = likely.accessor<double, 2>();
  Best best;
  for (std::int64_t begin = 1; begin < likely.size(0); ++begin) {
    const std::int64_t last = std::min(likely.size(0), begin + longest);
    for (std::int64_t end = begin; end < last; ++end) {
      if (const double both = p[begin][0] * p[end][1]; both > best.probability)
        best = {both, begin - 1, end - 1};
    }
  }
  return best;
}

}  // namespace

Span find_span(const Encoder& encoder, const std::string& question, const std::string& document,
               std::int64_t longest) {
  const torch::NoGradGuard no_gradients;
  const Frame frame = frame_of(encoder.tokenizer, question, document);
  const std::size_t count = frame.document.size();
  const auto around = static_cast<std::int64_t>(frame.before.ids.size() + frame.after.ids.size());
  const std::int64_t room = encoder.max_length - around;
  if (room < 16)
    throw std::invalid_argument("question: " + std::to_string(around) +
                                " tokens, of which the model reads " +
                                std::to_string(encoder.max_length) + " with the document's");
  Span span{
      .text = {}, .probability = -1, .windows = 0, .tokens = static_cast<std::int64_t>(count)};
  const std::size_t size = std::min(count, static_cast<std::size_t>(room));
  for (std::size_t begin = 0;; begin += std::max<std::size_t>(size / 2, 1)) {
    begin = std::min(begin, count - size);
    const nn::TextInput input = batch_of({window_of(frame, begin, begin + size)});
    const torch::Tensor logits = encoder.model->forward(input)[0];
    const torch::Tensor seen =
        torch::cat({logits.narrow(0, 0, 1),
                    logits.narrow(0, static_cast<std::int64_t>(frame.before.ids.size()),
                                  static_cast<std::int64_t>(size))});
    const Best best = best_span(seen, longest);
    ++span.windows;
    if (best.probability > span.probability) {
      const auto from = frame.document.begin() + static_cast<std::ptrdiff_t>(begin);
      span.probability = best.probability;
      span.text = encoder.tokenizer.decode(
          std::vector<std::int64_t>(from + best.begin, from + best.end + 1));
    }
    if (begin + size >= count) return span;
  }
}

}  // namespace regard::cli
