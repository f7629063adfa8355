// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909): a word starts as characters, and the
// pair that was learned first is merged, again and again.
#include <limits>
#include <queue>
#include <stdexcept>
#include <utility>

#include "tokenizers/model.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

struct Merge {
  std::int64_t rank;
  std::int64_t id;  // of the token that the two become
};

class Bpe : public Model {
 public:
  explicit Bpe(const Json& settings)
      : prefix_(setting<std::string>(settings, "continuing_subword_prefix", "")),
        suffix_(setting<std::string>(settings, "end_of_word_suffix", "")),
        fuses_unknown_(setting(settings, "fuse_unk", false)),
        byte_fallback_(setting(settings, "byte_fallback", false)),
        ignores_merges_(setting(settings, "ignore_merges", false)) {
    read_vocabulary(settings);
    const auto unknown = setting<std::string>(settings, "unk_token", "");
    if (!unknown.empty()) {
      unknown_ = id(unknown);
      if (!unknown_)
        throw std::runtime_error("unk_token '" + unknown + "' is not in the vocabulary");
    }
    read_merges(settings.at("merges"));
  }

  void encode(std::string_view word, std::vector<std::int64_t>& ids) const override {
    if (ignores_merges_) {
      if (const auto whole = id(word)) {
        ids.push_back(*whole);
        return;
      }
    }
    std::vector<std::int64_t> symbols = characters(word);
    merge(symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }

 private:
  // Positions of a word's symbols form a list; `id` is -1 where a symbol was merged away.
  struct Symbol {
    std::int64_t id;
    std::ptrdiff_t previous, next;
  };
  struct Candidate {
    std::int64_t rank;
    std::ptrdiff_t position;
    std::int64_t id;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, position) > std::pair(other.rank, other.position);
    }
  };

  static std::uint64_t key(std::int64_t a, std::int64_t b) {
    return static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint64_t>(b);
  }

  void read_merges(const Json& merges) {
    std::int64_t rank = 0;
    for (const Json& one : merges) {
      std::string a, b;
      if (one.is_array() && one.size() == 2) {
        a = one[0].get<std::string>();
        b = one[1].get<std::string>();
      } else {
        const auto text = one.get<std::string>();
        const std::size_t blank = text.find(' ');
        if (blank == std::string::npos) {
          throw std::runtime_error("merge " + std::to_string(rank) + " '" + text +
                                   "' is not two tokens");
        }
        a = text.substr(0, blank);
        b = text.substr(blank + 1);
      }
      const auto first = id(a), second = id(b);
      const auto whole = b.size() >= prefix_.size() ? id(a + b.substr(prefix_.size()))
                                                    : std::optional<std::int64_t>();
      if (!first || !second || !whole) {
        throw std::runtime_error("merge " + std::to_string(rank) + " ('" + a + "', '" + b +
                                 "') is not of tokens in the vocabulary");
      }
      merges_[key(*first, *second)] = {rank++, *whole};
    }
  }

  std::vector<std::int64_t> characters(std::string_view word) const {
    std::vector<std::int64_t> symbols;
    bool unknown_pending = false;
    each_code_point(word, [&](UChar32, std::size_t begin, std::size_t end) {
      std::string text(word.substr(begin, end - begin));
      if (begin > 0) text.insert(0, prefix_);
      if (end == word.size()) text += suffix_;
      if (const auto found = id(text)) {
        if (unknown_pending) symbols.push_back(*unknown_);
        unknown_pending = false;
        symbols.push_back(*found);
        return;
      }
      if (byte_fallback_) {
        if (const auto bytes = bytes_of(text)) {
          symbols.insert(symbols.end(), bytes->begin(), bytes->end());
          return;
        }
      }
      if (!unknown_) return;
      if (unknown_pending && !fuses_unknown_) symbols.push_back(*unknown_);
      unknown_pending = true;
    });
    if (unknown_pending) symbols.push_back(*unknown_);
    return symbols;
  }

  void merge(std::vector<std::int64_t>& ids) const {
    const auto count = static_cast<std::ptrdiff_t>(ids.size());
    std::vector<Symbol> symbols(ids.size());
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    const auto at = [&](std::ptrdiff_t i) -> Symbol& {
      return symbols[static_cast<std::size_t>(i)];
    };
    const auto offer = [&](std::ptrdiff_t left) {
      const std::ptrdiff_t right = at(left).next;
      if (right >= count) return;
      const auto found = merges_.find(key(at(left).id, at(right).id));
      if (found != merges_.end()) candidates.push({found->second.rank, left, found->second.id});
    };
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      at(i) = {ids[static_cast<std::size_t>(i)], i - 1, i + 1};
    }
    for (std::ptrdiff_t i = 0; i < count; ++i) offer(i);
    while (!candidates.empty()) {
      const Candidate best = candidates.top();
      candidates.pop();
      Symbol& left = at(best.position);
      if (left.id < 0 || left.next >= count) continue;
      const std::ptrdiff_t right = left.next;
      // What lies there may have become something else since this was offered.
      const auto found = merges_.find(key(left.id, at(right).id));
      if (found == merges_.end() || found->second.id != best.id) continue;
      left.id = best.id;
      left.next = at(right).next;
      at(right).id = -1;
      if (left.next < count) at(left.next).previous = best.position;
      if (left.previous >= 0) offer(left.previous);
      offer(best.position);
    }
    ids.clear();
    for (std::ptrdiff_t i = 0; i < count; i = at(i).next) ids.push_back(at(i).id);
  }

  std::string prefix_, suffix_;
  bool fuses_unknown_, byte_fallback_, ignores_merges_;
  std::optional<std::int64_t> unknown_;
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace

std::unique_ptr<Model> make_bpe(const Json& settings) { return std::make_unique<Bpe>(settings); }

}  // namespace regard::text
