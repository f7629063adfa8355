// SPDX-License-Identifier: Apache-2.0
// Fine-tunes a BERT, RoBERTa or Longformer checkpoint to tell kinds of texts apart, and saves it so
// that transformers reads it:
//
//   fine_tune_encoder CHECKPOINT TEXTS FOLDER STEPS < texts-to-classify
//
// A line of TEXTS is a label, a tab and a text. Links regard::nn and regard::tokenizers
// (find_package(regard COMPONENTS nn)).
#include <regard/nn/pretrained.h>
#include <regard/nn/text_encoder.h>
#include <regard/text/tokenizer.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>

namespace nn = regard::nn;

namespace {

struct Example {
  std::string label, text;
};

std::vector<Example> read_examples(const char* path) {
  std::ifstream file(path);
  std::vector<Example> examples;
  for (std::string line; std::getline(file, line);) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string::npos)
      throw std::runtime_error(std::string(path) + ": a line without a tab: " + line);
    examples.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  if (examples.empty()) throw std::runtime_error(std::string(path) + ": no examples in it");
  return examples;
}

// Texts as rows of tokens, each padded behind its end and cut where the model's positions end.
nn::TextInput rows_of(const std::vector<std::string>& texts,
                      const regard::text::Tokenizer& tokenizer, const nn::TextEncoder& model) {
  std::vector<torch::Tensor> rows;
  std::vector<std::int64_t> lengths;
  for (const std::string& text : texts) {
    std::vector<std::int64_t> ids = tokenizer.encode(text).ids;
    if (static_cast<std::int64_t>(ids.size()) > model.max_length()) ids.resize(model.max_length());
    lengths.push_back(static_cast<std::int64_t>(ids.size()));
    rows.push_back(torch::tensor(ids));
  }
  nn::TextInput input;
  input.tokens = torch::nn::utils::rnn::pad_sequence(
      rows, /*batch_first=*/true, static_cast<double>(model.text_config().pad_token));
  input.lengths = torch::tensor(lengths);
  return input;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "usage: fine_tune_encoder CHECKPOINT TEXTS FOLDER STEPS\n");
    return 2;
  }
  const std::vector<Example> examples = read_examples(argv[2]);
  std::set<std::string> names;
  for (const Example& example : examples) names.insert(example.label);
  const std::vector<std::string> labels(names.begin(), names.end());

  // The checkpoint's encoder under a newly drawn head for these labels.
  torch::manual_seed(1);
  const auto tokenizer = regard::text::Tokenizer::load(argv[1]);
  const auto model =
      nn::open_model<nn::TextEncoder>(argv[1], {{"head", "sequence"}, {"labels", labels}});
  model->train();
  torch::optim::AdamW optimiser(model->parameters(), torch::optim::AdamWOptions(1e-4));
  for (int step = 1; step <= std::atoi(argv[4]); ++step) {
    std::vector<std::string> texts;
    std::vector<std::int64_t> classes;
    const torch::Tensor drawn =
        torch::randint(static_cast<std::int64_t>(examples.size()), {16}, torch::kInt64);
    for (std::int64_t i = 0; i < drawn.size(0); ++i) {
      const Example& example = examples[drawn[i].item<std::int64_t>()];
      texts.push_back(example.text);
      classes.push_back(std::find(labels.begin(), labels.end(), example.label) - labels.begin());
    }
    optimiser.zero_grad();
    const torch::Tensor loss = torch::nn::functional::cross_entropy(
        model->forward(rows_of(texts, tokenizer, *model)), torch::tensor(classes));
    loss.backward();
    torch::nn::utils::clip_grad_norm_(model->parameters(), 1.0);
    optimiser.step();
    std::fprintf(stderr, "step %d: loss %.3f\n", step, loss.item<double>());
  }
  model->eval();
  nn::save_pretrained(argv[3], *model);

  const torch::NoGradGuard no_grad;
  for (std::string line; std::getline(std::cin, line);) {
    const torch::Tensor logits = model->forward(rows_of({line}, tokenizer, *model));
    std::cout << labels[logits.argmax(-1).item<std::int64_t>()] << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "fine_tune_encoder: %s\n", error.what());
  return 1;
}
