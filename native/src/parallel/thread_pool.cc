// Fork-join and background jobs on the same workers. A worker takes work in this order: a share of an open loop,
// then a queued job; with neither it spins briefly (layers follow each other within microseconds, waking costs tens
// of them) and then sleeps. Work goes to whoever worked last: its core's caches hold what the work before left there.
// Loops nest: a job's ParallelFor is served by whichever workers are free.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "repfuse/parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define REPFUSE_PAUSE() _mm_pause()
#else
#define REPFUSE_PAUSE() std::this_thread::yield()
#endif

namespace repfuse {
namespace {

// Long enough for the next layer, and for a request that follows once an event loop has woken for the one before, which takes up to 300 us;
// waking a thread takes about 100.
constexpr std::chrono::microseconds kMaxIdleSpin{400};
constexpr int kMaxPausesBeforeYield = 2000;  // pauses, before a thread that waits for the last shares gives up its turn
constexpr int kSpins = 32;                   // between two looks at the clock

thread_local const std::atomic<bool>* t_cancel = nullptr;

struct Loop {
  const std::function<void(int64_t, int)>* body;
  int64_t count;
  int max_helpers;
  const std::atomic<bool>* cancel;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::atomic<int> helpers{0};   // slots 1.. handed out
  std::atomic<int> visitors{0};  // workers that still touch this object

  void Run(int slot) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      if (cancel == nullptr || !cancel->load(std::memory_order_relaxed)) (*body)(i, slot);
      done.fetch_add(1, std::memory_order_release);
    }
  }
  bool HasWork() const { return next.load(std::memory_order_relaxed) < count && helpers.load(std::memory_order_relaxed) < max_helpers; }
};

class Pool {
 public:
  void RunLoop(Loop& loop) {
    EnsureWorkers(loop.max_helpers);
    {
      std::lock_guard lock(mutex_);
      loops_.push_back(&loop);
      Call(loop.max_helpers);
    }
    loop.Run(0);
    {
      std::lock_guard lock(mutex_);
      loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
    }
    // Only shares already begun are outstanding, so the wait is at most one share long.
    for (int spins = 0; loop.done.load(std::memory_order_acquire) < loop.count || loop.visitors.load(std::memory_order_acquire) > 0;) {
      if (++spins < kMaxPausesBeforeYield) REPFUSE_PAUSE();
      else std::this_thread::yield();
    }
  }

  void Enqueue(std::function<void()> job, int workers) {
    EnsureWorkers(workers);
    if (size() == 0) return job();
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    Call(static_cast<int>(jobs_.size()));
  }

  int size() const { return workers_.load(std::memory_order_relaxed); }

 private:
  struct Sleeper {
    std::condition_variable wake;
    bool called = false;
  };

  // Has that many workers look for work, under the mutex: those that spin, then those that fell asleep last. No more: waking one costs more
  // than a small layer.
  void Call(int wanted) {
    version_.fetch_add(1, std::memory_order_release);
    for (int called = spinning_; called < wanted && !sleeping_.empty(); ++called) {
      sleeping_.back()->called = true;
      sleeping_.back()->wake.notify_one();
      sleeping_.pop_back();
    }
  }

  void EnsureWorkers(int wanted) {
    wanted = std::min(wanted, kMaxThreads);
    if (workers_.load(std::memory_order_relaxed) >= wanted) return;
    std::lock_guard lock(mutex_);
    while (workers_.load(std::memory_order_relaxed) < wanted) {
      try {
        std::thread([this] { Work(); }).detach();
      } catch (const std::system_error&) {
        return;  // a process limit: the caller still does the work, and Enqueue runs it in place
      }
      workers_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  [[noreturn]] void Work() {
    Sleeper self;
    std::unique_lock lock(mutex_);
    for (;;) {
      if (Loop* loop = FindLoop()) {
        const int slot = loop->helpers.fetch_add(1, std::memory_order_relaxed) + 1;
        loop->visitors.fetch_add(1, std::memory_order_relaxed);  // under the mutex: RunLoop removes the loop before it waits
        if (!jobs_.empty()) Call(1);                             // who was counted on for that one is busy now
        lock.unlock();
        loop->Run(slot);
        loop->visitors.fetch_sub(1, std::memory_order_release);
        lock.lock();
        continue;
      }
      if (!jobs_.empty()) {
        std::function<void()> job = std::move(jobs_.front());
        jobs_.pop_front();
        if (!jobs_.empty()) Call(1);
        lock.unlock();
        job();
        job = nullptr;
        lock.lock();
        continue;
      }
      const uint64_t seen = version_.load(std::memory_order_acquire);
      ++spinning_;
      lock.unlock();
      Spin(seen);
      lock.lock();
      --spinning_;
      if (version_.load(std::memory_order_acquire) != seen) continue;
      self.called = false;
      sleeping_.push_back(&self);
      self.wake.wait(lock, [&] { return self.called; });
    }
  }

  // Until there is something new, or for a while.
  void Spin(uint64_t seen) const {
    const auto end = std::chrono::steady_clock::now() + kMaxIdleSpin;
    do {
      for (int i = 0; i < kSpins; ++i) {
        if (version_.load(std::memory_order_acquire) != seen) return;
        REPFUSE_PAUSE();
      }
    } while (std::chrono::steady_clock::now() < end);
  }

  Loop* FindLoop() const {
    for (Loop* loop : loops_) {
      if (loop->HasWork()) return loop;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::vector<Loop*> loops_;
  std::deque<std::function<void()>> jobs_;
  std::atomic<uint64_t> version_{0};
  std::atomic<int> workers_{0};
  int spinning_ = 0;  // workers, under the mutex
  std::vector<Sleeper*> sleeping_;
};

Pool& ThePool() {
  static Pool* const pool = new Pool;  // leaked on purpose, see parallel.h
  return *pool;
}

}  // namespace

CancelScope::CancelScope(const std::atomic<bool>* flag) : previous_(t_cancel) { t_cancel = flag; }
CancelScope::~CancelScope() { t_cancel = previous_; }
bool Cancelled() { return t_cancel != nullptr && t_cancel->load(std::memory_order_relaxed); }

void ParallelFor(int64_t count, int threads, const std::function<void(int64_t, int)>& body) {
  threads = static_cast<int>(std::min<int64_t>(std::clamp(threads, 1, kMaxThreads), count));
  if (threads <= 1) {
    for (int64_t i = 0; i < count && !Cancelled(); ++i) body(i, 0);
    return;
  }
  Loop loop{&body, count, threads - 1, t_cancel};
  ThePool().RunLoop(loop);
}

void Submit(std::function<void()> job) {
  static const int workers = DefaultThreads();  // reads files: once is enough
  ThePool().Enqueue(std::move(job), workers);
}

int PoolThreads() { return ThePool().size(); }

}  // namespace repfuse
