// The pool: every index once, slots exclusive, nesting, cancelling, background jobs; and what a cgroup grants.
#include "repfuse/parallel.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "repfuse/checked.h"

namespace repfuse {
namespace {

TEST(ParallelTest, EveryIndexOnceForAnyThreadCount) {
  for (int threads : {1, 2, 3, 8, 200}) {
    for (int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      ParallelFor(count, threads, [&](int64_t i, int) { seen[static_cast<size_t>(i)].fetch_add(1); });
      for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
    }
  }
}

TEST(ParallelTest, ASlotIsHeldByOneThreadAtATime) {
  std::vector<std::atomic<int>> busy(4);
  std::atomic<int> collisions{0};
  ParallelFor(2000, 4, [&](int64_t, int slot) {
    ASSERT_GE(slot, 0);
    ASSERT_LT(slot, 4);
    if (busy[static_cast<size_t>(slot)].fetch_add(1) != 0) collisions.fetch_add(1);
    std::this_thread::yield();
    busy[static_cast<size_t>(slot)].fetch_sub(1);
  });
  EXPECT_EQ(collisions.load(), 0);
}

TEST(ParallelTest, LoopsNestAndRunFromManyThreads) {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 6; ++t) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        ParallelFor(5, 3, [&](int64_t, int) { ParallelFor(7, 2, [&](int64_t i, int) { sum.fetch_add(i); }); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 6 * 50 * 5 * 21);
}

TEST(ParallelTest, ACancelledLoopSkipsWhatHasNotBegun) {
  std::atomic<bool> cancel{false};
  std::atomic<int> ran{0};
  {
    const CancelScope scope(&cancel);
    for (int threads : {1, 2}) {
      cancel = false;
      ran = 0;
      ParallelFor(1000, threads, [&](int64_t, int) {
        if (ran.fetch_add(1) == 5) cancel = true;
      });
      EXPECT_TRUE(Cancelled());
      EXPECT_LT(ran.load(), 100);
    }
  }
  EXPECT_FALSE(Cancelled());
}

TEST(ParallelTest, JobsRunOnThePoolAndMayStartLoops) {
  std::mutex mutex;
  std::condition_variable ended;
  int left = 20;
  std::atomic<int64_t> sum{0};
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> on_caller{false};
  for (int job = 0; job < 20; ++job) {
    Submit([&] {
      if (std::this_thread::get_id() == caller) on_caller = true;
      ParallelFor(10, 2, [&](int64_t i, int) { sum.fetch_add(i); });
      std::lock_guard lock(mutex);
      if (--left == 0) ended.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  ended.wait(lock, [&] { return left == 0; });
  EXPECT_EQ(sum.load(), 20 * 45);
  EXPECT_FALSE(on_caller.load());
  EXPECT_GE(PoolThreads(), 1);
  EXPECT_LE(PoolThreads(), kMaxThreads);
}

class QuotaTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/repfuse-cgroup-XXXXXX";
    root_ = mkdtemp(pattern);
  }
  void TearDown() override { ASSERT_EQ(std::system(("rm -rf " + root_).c_str()), 0); }

  void Write(const std::string& name, const std::string& text) {
    for (size_t at = 0; (at = name.find('/', at)) != std::string::npos; ++at) mkdir((root_ + "/" + name.substr(0, at)).c_str(), 0700);
    std::ofstream(root_ + "/" + name) << text;
  }
  double Quota(const std::string& membership) {
    Write("membership", membership);
    return CgroupCpuQuota(root_.c_str(), (root_ + "/membership").c_str());
  }

  std::string root_;
};

TEST_F(QuotaTest, Version2TakesTheSmallestLimitOnTheWayUp) {
  Write("cpu.max", "max 100000\n");
  Write("a/cpu.max", "150000 100000\n");
  Write("a/b/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(Quota("0::/a/b\n"), 1.5);
  EXPECT_DOUBLE_EQ(Quota("0::/\n"), 0);
}

TEST_F(QuotaTest, Version1ReadsTheCpuController) {
  Write("cpu/job/cpu.cfs_quota_us", "250000");
  Write("cpu/job/cpu.cfs_period_us", "100000");
  EXPECT_DOUBLE_EQ(Quota("7:memory:/job\n4:cpu,cpuacct:/job\n"), 2.5);
  Write("cpu/job/cpu.cfs_quota_us", "-1");
  EXPECT_DOUBLE_EQ(Quota("4:cpu,cpuacct:/job\n"), 0);
}

TEST_F(QuotaTest, OddFilesMeanNoLimit) {
  EXPECT_DOUBLE_EQ(Quota("0::/absent\n"), 0);
  Write("odd/cpu.max", "garbage");
  EXPECT_DOUBLE_EQ(Quota("0::/odd\nno colons here\n"), 0);
  EXPECT_DOUBLE_EQ(Quota("0::/../escape\n"), 0);
  EXPECT_DOUBLE_EQ(CgroupCpuQuota("/nonexistent", "/nonexistent"), 0);
}

TEST(CheckedTest, ProductsThatDoNotFitAreRefused) {
  int64_t product = 0;
  EXPECT_TRUE(CheckedProduct({3, 4, 5}, &product));
  EXPECT_EQ(product, 60);
  EXPECT_FALSE(CheckedProduct({int64_t{1} << 32, int64_t{1} << 31}, &product));
  EXPECT_FALSE(CheckedProduct({-1, 5}, &product));
  EXPECT_TRUE(CheckedProduct({0, int64_t{1} << 62}, &product));
}

}  // namespace
}  // namespace repfuse
