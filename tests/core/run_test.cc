// SPDX-License-Identifier: Apache-2.0
// How workers share the items of a pass.
#include "core/schedule/run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/core/support/executors.h"

#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace regard::testing {
namespace {

struct Counted {
  mutable std::vector<std::atomic<int>> times;
  explicit Counted(std::size_t count) : times(count) {}
};

void count_item(const void* task, std::size_t item, std::byte* /*scratch*/) {
  static_cast<const Counted*>(task)->times[item].fetch_add(1);
}

TEST(Run, EveryItemOnce) {
  for (const int workers : {1, 2, 3, 8, 40}) {
    const OneByOneExecutor one_by_one(workers);
    const CountingExecutor threads(workers);
    for (const Executor* executor :
         {static_cast<const Executor*>(&one_by_one), static_cast<const Executor*>(&threads)}) {
      for (const std::size_t count : {1, 7, 16, 17, 321, 1000}) {
        for (const double item : {1e3, 4e6, 1e9}) {
          for (const auto order : {schedule::ItemOrder::kAny, schedule::ItemOrder::kMayWait}) {
            const Counted task(count);
            ASSERT_TRUE(schedule::run_items(*executor, count, item * static_cast<double>(count), 64,
                                            count_item, &task, order)
                            .ok());
            for (std::size_t i = 0; i < count; ++i) {
              ASSERT_EQ(task.times[i].load(), 1) << "item " << i << " of " << count << ", "
                                                 << workers << " workers, work " << item;
            }
          }
        }
      }
    }
  }
}

// Which item each thread ran first. All wait for the others' first.
struct Firsts {
  std::size_t threads;
  mutable std::mutex mutex;
  mutable std::map<std::thread::id, std::size_t> first;
};

void note_first(const void* task, std::size_t item, std::byte* /*scratch*/) {
  const auto& firsts = *static_cast<const Firsts*>(task);
  for (bool all = false; !all; std::this_thread::yield()) {
    const std::lock_guard<std::mutex> lock(firsts.mutex);
    firsts.first.emplace(std::this_thread::get_id(), item);
    all = firsts.first.size() == firsts.threads;
  }
}

std::vector<std::size_t> first_items(schedule::ItemOrder order) {
  const CountingExecutor executor(3);
  Firsts task{3, {}, {}};
  EXPECT_TRUE(schedule::run_items(executor, 300, 300 * 1e6, 64, note_first, &task, order).ok());
  std::vector<std::size_t> items;
  for (const auto& [thread, item] : task.first) items.push_back(item);
  std::sort(items.begin(), items.end());
  return items;
}

// A worker finds in its core's cache what it had there in the last call: it starts where it started
// then.
TEST(Run, EachWorkerStartsWithARangeOfSmallItems) {
  EXPECT_EQ(first_items(schedule::ItemOrder::kAny), (std::vector<std::size_t>{0, 100, 200}));
}

// Items that may wait for earlier ones are taken in order: the ones at work are the first that are
// left.
TEST(Run, ItemsThatMayWaitAreTakenInOrder) {
  EXPECT_LT(first_items(schedule::ItemOrder::kMayWait).back(), 3u * 8u);
}

// A host's own pool, and what calls use that name no executor.
TEST(Run, AHostsOwnPool) {
  int asked = 0;
  const HostExecutor host(3, [&asked](int workers, const std::function<void(int)>& worker) {
    asked = workers;
    for (int w = workers; w-- > 0;) worker(w);
  });
  EXPECT_EQ(&default_executor(), &serial_executor());
  set_default_executor(&host);
  EXPECT_EQ(&default_executor(), &host);
  const Counted task(50);
  EXPECT_TRUE(schedule::run_items(default_executor(), 50, 1e8, 64, count_item, &task,
                                  schedule::ItemOrder::kMayWait)
                  .ok());
  set_default_executor(nullptr);
  EXPECT_EQ(&default_executor(), &serial_executor());
  EXPECT_EQ(asked, 3);
  for (const std::atomic<int>& times : task.times) EXPECT_EQ(times.load(), 1);
}

// Sanitizers have mapped more than any limit.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A process that has no room for another thread's stack still does all its work, on the threads
// that it got.
TEST(Run, ThreadsThatCannotStart) {
  const auto in_little_room = [] {
    std::ifstream statistics("/proc/self/statm");
    rlim_t pages = 0;
    statistics >> pages;
    constexpr rlim_t kRoom = rlim_t{1} << 20;  // a stack takes eight times that
    const rlim_t most = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + kRoom;
    const rlimit limit{most, most};
    if (pages == 0 || setrlimit(RLIMIT_AS, &limit) != 0) std::_Exit(2);
    constexpr int kWorkers = 64;
    std::atomic<int> times[kWorkers] = {};
    std::atomic<int> here = 0;
    const std::thread::id own = std::this_thread::get_id();
    ThreadExecutor(kWorkers).run(kWorkers, [&](int worker) {
      times[worker].fetch_add(1);
      if (std::this_thread::get_id() == own) here.fetch_add(1);
    });
    const bool each_once = std::all_of(std::begin(times), std::end(times),
                                       [](const std::atomic<int>& n) { return n.load() == 1; });
    std::_Exit(each_once && here.load() > 1 ? 0 : 1);
  };
  EXPECT_EXIT(in_little_room(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace regard::testing
