// SPDX-License-Identifier: Apache-2.0
#include "cli/span.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string_view>

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

// A word of the document between blanks, with the blanks before it.
struct Word {
  std::size_t begin, end;              // bytes
  std::size_t first_token, end_token;  // among the document's
};

constexpr std::size_t kLongestWord = 512;  // bytes: each place to cut it is tried

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::vector<std::int64_t> tokens_of(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, /*add_special_tokens=*/false).ids;
}

// The document's words with the tokens that each gives alone; nothing where these are not those of
// the whole.
std::vector<Word> words_of(const text::Tokenizer& tokenizer, const std::string& document,
                           const std::vector<std::int64_t>& tokens) {
  std::vector<Word> words;
  std::vector<std::int64_t> all;
  for (std::size_t begin = 0, end = 0; begin < document.size(); begin = end) {
    while (end < document.size() && is_blank(document[end])) ++end;
    while (end < document.size() && !is_blank(document[end])) ++end;
    const auto own = tokens_of(tokenizer, std::string_view(document).substr(begin, end - begin));
    words.push_back({begin, end, all.size(), all.size() + own.size()});
    all.insert(all.end(), own.begin(), own.end());
  }
  return all == tokens ? words : std::vector<Word>();
}

// Where token `token` of a word begins in the document, or the word ends: where it can be cut so
// that both parts give the tokens they have in it. Nothing where it cannot.
std::optional<std::size_t> byte_of(const text::Tokenizer& tokenizer, const std::string& document,
                                   const std::vector<std::int64_t>& tokens, const Word& word,
                                   std::size_t token) {
  if (token == word.first_token) return word.begin;
  if (token == word.end_token) return word.end;
  const auto begin = tokens.begin();
  const std::vector<std::int64_t> left(begin + static_cast<std::ptrdiff_t>(word.first_token),
                                       begin + static_cast<std::ptrdiff_t>(token));
  const std::vector<std::int64_t> right(begin + static_cast<std::ptrdiff_t>(token),
                                        begin + static_cast<std::ptrdiff_t>(word.end_token));
  const std::string_view text = document;
  for (std::size_t cut = word.begin + 1; cut < word.end; ++cut) {
    if (begins_character(document[cut]) &&
        tokens_of(tokenizer, text.substr(word.begin, cut - word.begin)) == left &&
        tokens_of(tokenizer, text.substr(cut, word.end - cut)) == right) {
      return cut;
    }
  }
  return std::nullopt;
}

std::int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), begins_character);
}

// The document's own text of tokens `first` to `last`, in whole words.
void locate(const text::Tokenizer& tokenizer, const std::string& document,
            const std::vector<std::int64_t>& tokens, std::size_t first, std::size_t last,
            Span& span) {
  const std::vector<Word> words = words_of(tokenizer, document, tokens);
  const auto word_with = [&](std::size_t token) {
    return std::find_if(words.begin(), words.end(),
                        [&](const Word& word) { return token < word.end_token; });
  };
  const auto is_long = [](const Word& word) { return word.end - word.begin > kLongestWord; };
  // Where tokens reach over blanks, or there are none, what they spell is as near as one comes.
  if (words.empty() || is_long(*word_with(first)) || is_long(*word_with(last))) {
    const auto begin = tokens.begin();
    span.text = tokenizer.decode(std::vector<std::int64_t>(
        begin + static_cast<std::ptrdiff_t>(first), begin + static_cast<std::ptrdiff_t>(last + 1)));
    span.start = span.end = -1;
    return;
  }
  const Word &from = *word_with(first), &to = *word_with(last);
  // Pieces within a word bring the whole of it.
  std::optional<std::size_t> found;
  for (std::size_t token = first; !found; --token)
    found = byte_of(tokenizer, document, tokens, from, token);
  std::size_t begin = *found;
  found.reset();
  for (std::size_t token = last + 1; !found; ++token)
    found = byte_of(tokenizer, document, tokens, to, token);
  std::size_t end = *found;
  while (begin < end && is_blank(document[begin])) ++begin;
  while (end > begin && is_blank(document[end - 1])) --end;
  span.text = document.substr(begin, end - begin);
  span.start = characters(std::string_view(document).substr(0, begin));
  span.end = span.start + characters(span.text);
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
  Span span{.text = {}, .probability = -1, .tokens = static_cast<std::int64_t>(count)};
  std::size_t first = 0, last = 0;  // tokens of the likeliest
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
      span.probability = best.probability;
      first = begin + static_cast<std::size_t>(best.begin);
      last = begin + static_cast<std::size_t>(best.end);
    }
    if (begin + size >= count) break;
  }
  locate(encoder.tokenizer, document, frame.document, first, last, span);
  return span;
}

}  // namespace regard::cli
