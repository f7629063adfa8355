// SPDX-License-Identifier: Apache-2.0
// Objects that keep their memory from call to call.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace regard::schedule {

// An object of type State, taken from a list of free ones and given back at the end of its scope.
// Not thread_local: a pool's thread that waits inside one call may start another.
template <typename State>
class Borrow {
 public:
  Borrow() {
    const std::lock_guard lock(list().mutex);
    if (!list().free.empty()) {
      state_ = std::move(list().free.back());
      list().free.pop_back();
    } else {
      state_ = std::make_unique<State>();
    }
  }
  ~Borrow() {
    const std::lock_guard lock(list().mutex);
    if (list().free.size() < kKept) list().free.push_back(std::move(state_));
  }
  Borrow(const Borrow&) = delete;
  Borrow& operator=(const Borrow&) = delete;

  State& operator*() { return *state_; }
  State* operator->() { return state_.get(); }

  static void release() {
    const std::lock_guard lock(list().mutex);
    list().free.clear();
  }

 private:
  static constexpr std::size_t kKept = 8;
  struct List {
    std::mutex mutex;
    std::vector<std::unique_ptr<State>> free;
    List() { free.reserve(kKept); }
  };
  static List& list() {
    static List* const instance = new List;  // never destroyed, as the scratch pool
    return *instance;
  }

  std::unique_ptr<State> state_;
};

}  // namespace regard::schedule
