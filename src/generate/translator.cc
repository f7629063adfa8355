// SPDX-License-Identifier: Apache-2.0
#include "regard/generate/translator.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace regard::generate {
namespace {

using Tokens = std::vector<std::int64_t>;

// Sources as a tensor with their end tokens, (batch, longest + 1), and their lengths.
std::pair<torch::Tensor, torch::Tensor> to_tensors(const std::vector<const Tokens*>& sources) {
  std::size_t longest = 0;
  for (const Tokens* source : sources) longest = std::max(longest, source->size());
  const auto rows = static_cast<std::int64_t>(sources.size());
  const auto columns = static_cast<std::int64_t>(longest) + 1;
  torch::Tensor source = torch::full({rows, columns}, nn::kPad, torch::kInt64);
  torch::Tensor lengths = torch::empty({rows}, torch::kInt64);
  for (std::int64_t row = 0; row < rows; ++row) {
    const Tokens& tokens = *sources[static_cast<std::size_t>(row)];
    *std::copy(tokens.begin(), tokens.end(), source.data_ptr<std::int64_t>() + row * columns) =
        nn::kEnd;
    lengths[row] = static_cast<std::int64_t>(tokens.size()) + 1;
  }
  return {source, lengths};
}

// Vocabularies of bytes can write control characters; a result stays one line of text.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

}  // namespace

// A source or a part of a long one, and what came of it.
struct Translator::Part {
  Tokens source;
  std::uint64_t name = 0;  // of its draws
  Generated result;
};

Translator::Translator(nn::SequenceModel& model, text::Vocabulary vocabulary,
                       TranslatorOptions options)
    : model_(model), vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  if (options_.max_source < 1)
    throw std::invalid_argument("max_source: " + std::to_string(options_.max_source) +
                                "; expected at least 1");
  check(options_.beam);
  if (options_.batch_tokens < 1)
    throw std::invalid_argument("batch_tokens: " + std::to_string(options_.batch_tokens) +
                                "; expected at least 1");
  if (!(options_.length_factor >= 0) || options_.length_extra < 1) {
    throw std::invalid_argument("length_factor: expected 0 or more; length_extra: at least 1");
  }
  model_.eval();
}

// Cuts where a sentence ends, in the latter half of what fits, else where a word begins, else where
// it must.
std::vector<Tokens> Translator::parts_of(const std::string& line, bool& cut) const {
  Tokens rest = vocabulary_.encode(line);
  const auto most = static_cast<std::size_t>(options_.max_source);
  if (options_.cut_sources && rest.size() > most) {
    cut = true;
    rest.resize(most);
  }
  std::vector<Tokens> parts;
  while (rest.size() > most) {
    const auto words = vocabulary_.words(std::span(rest).first(most + 1));
    std::size_t end = most, word_end = 0, sentence_end = 0;
    for (std::size_t w = 1; w < words.words.size(); ++w) {
      const std::size_t first = words.first[w];
      if (first > most) break;
      word_end = first;
      const std::string& before = words.words[w - 1];
      const bool ends =
          !before.empty() && std::string(".!?;:").find(before.back()) != std::string::npos;
      if (ends && first >= most / 2) sentence_end = first;
    }
    if (word_end > 0) end = word_end;
    if (sentence_end > 0) end = sentence_end;
    parts.emplace_back(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(end));
    rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(end));
  }
  if (!rest.empty()) parts.push_back(std::move(rest));
  return parts;
}

void Translator::generate(std::vector<Part*> batch) const {
  const torch::NoGradGuard no_gradients;
  std::vector<const Tokens*> sources;
  Limits limits;
  std::int64_t longest = 0;
  for (const Part* part : batch) {
    sources.push_back(&part->source);
    const double length = options_.length_factor * static_cast<double>(part->source.size());
    limits.max_lengths.push_back(std::llround(length) + options_.length_extra);
    longest = std::max(longest, limits.max_lengths.back());
  }
  const auto [source, lengths] = to_tensors(sources);
  ModelStepper stepper(model_, source, lengths, longest);
  if (options_.sampling) {
    SamplingOptions draw = options_.draw;
    draw.rows.clear();
    for (const Part* part : batch) draw.rows.push_back(part->name);
    auto results = sample(stepper, stepper.first_tokens(), limits, draw);
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i]->result = std::move(results[i]);
  } else if (options_.beam.beams == 1) {
    auto results = greedy(stepper, stepper.first_tokens(), limits);
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i]->result = std::move(results[i]);
  } else {
    auto results = beam_search(stepper, stepper.first_tokens(), limits, options_.beam);
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i]->result = std::move(results[i].front());
  }
}

std::vector<Translation> Translator::translate(const std::vector<std::string>& lines,
                                               std::uint64_t first_line) const {
  std::vector<Translation> translations(lines.size());
  std::vector<std::vector<Part>> parts(lines.size());
  std::vector<Part*> all;
  for (std::size_t line = 0; line < lines.size(); ++line) {
    std::uint64_t number = 0;
    for (Tokens& tokens : parts_of(lines[line], translations[line].cut)) {
      parts[line].push_back({std::move(tokens), ((first_line + line) << 20) + number++, {}});
    }
    for (Part& part : parts[line]) all.push_back(&part);
  }
  std::stable_sort(all.begin(), all.end(), [](const Part* a, const Part* b) {
    return a->source.size() > b->source.size();
  });
  const std::int64_t beams = options_.sampling ? 1 : options_.beam.beams;
  for (std::size_t begin = 0; begin < all.size();) {
    const auto positions = static_cast<std::int64_t>(all[begin]->source.size() + 1) * beams;
    const auto rows =
        static_cast<std::size_t>(std::max<std::int64_t>(1, options_.batch_tokens / positions));
    const std::size_t end = std::min(all.size(), begin + rows);
    generate({all.begin() + static_cast<std::ptrdiff_t>(begin),
              all.begin() + static_cast<std::ptrdiff_t>(end)});
    begin = end;
  }
  for (std::size_t line = 0; line < lines.size(); ++line) {
    Translation& translation = translations[line];
    translation.parts = static_cast<std::int64_t>(parts[line].size());
    for (const Part& part : parts[line]) {
      const auto& result = part.result;
      if (!translation.text.empty()) translation.text += " ";
      translation.text += one_line(vocabulary_.decode(result.tokens));
      translation.tokens.insert(translation.tokens.end(), result.tokens.begin(),
                                result.tokens.end());
      translation.log_probability += result.log_probability;
      translation.unfinished |= !result.ended;
    }
  }
  return translations;
}

}  // namespace regard::generate
