// One process-wide pool, made on first use and never destroyed: no static destructor can race a worker at exit.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace repfuse {

// min(CPU affinity, ceil(cgroup CPU quota)); at least 1.
int DefaultThreads();
// CPUs' worth of quota that the cgroup grants (cgroup v2 cpu.max or v1 cfs), or 0 when unlimited.
// `root` is the folder that holds the cgroup tree, `membership` the process's cgroup file; both replaced in tests.
double CgroupCpuQuota(const char* root = "/sys/fs/cgroup", const char* membership = "/proc/self/cgroup");

// Upper bound on `threads` of one call, and so on the size of per-thread scratch.
inline constexpr int kMaxThreads = 64;

// Calls body(index, slot) for every index in [0, count), on at most `threads` threads, the caller among them.
// `slot` in [0, threads) is held by one thread at a time: index per-thread scratch with it. Returns when all are done.
// Indices are handed out in order, each to one thread, so a reduction kept inside one index never depends on `threads`.
void ParallelFor(int64_t count, int threads, const std::function<void(int64_t index, int slot)>& body);

// While one lives, the loops that its thread starts skip the indices not yet begun once `*flag` is true.
class CancelScope {
 public:
  explicit CancelScope(const std::atomic<bool>* flag);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  const std::atomic<bool>* previous_;
};
bool Cancelled();

// Runs `job` on a pool thread (never one of libuv's), where it may call ParallelFor.
void Submit(std::function<void()> job);

// Threads the pool has started so far.
int PoolThreads();

}  // namespace repfuse
