// SPDX-License-Identifier: Apache-2.0
// What test_tokenizers.py drives: reads JSON Lines, each a text or a pair of texts, and writes for
// each its ids, its type ids, and what becomes of the ids.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "regard/text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "tokenize FILE < texts.jsonl\n";
    return 2;
  }
  try {
    const auto tokenizer = regard::text::Tokenizer::load(argv[1]);
    std::string line;
    while (std::getline(std::cin, line)) {
      const auto request = nlohmann::json::parse(line);
      const auto encoding =
          request.is_string()
              ? tokenizer.encode(request.get<std::string>())
              : tokenizer.encode_pair(request[0].get<std::string>(), request[1].get<std::string>());
      const nlohmann::json answer = {encoding.ids, encoding.type_ids,
                                     tokenizer.decode(encoding.ids, true),
                                     tokenizer.decode(encoding.ids, false)};
      std::cout << answer.dump() << "\n";
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
