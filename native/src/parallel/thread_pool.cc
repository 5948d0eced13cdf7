// Fork-join and background jobs on the same workers. A worker takes work in this order: a share of an open loop,
// then a queued job; with neither it spins briefly (layers follow each other within microseconds, waking costs tens
// of them) and then sleeps. Work goes to whoever worked last: its core's caches hold what the work before left there.
// Loops nest: a job's ParallelFor is served by whichever workers are free. Loops are offered on boards, without a lock:
// a small map's step takes as long as two locks. Jobs and sleep stand under the mutex.
#include <algorithm>
#include <array>
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
constexpr int kSpins = 32;                   // pauses between two looks at the clock

thread_local const std::atomic<bool>* t_cancel = nullptr;

struct Loop {
  const std::function<void(int64_t, int)>* body;
  int64_t count;
  int max_helpers;
  const std::atomic<bool>* cancel;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::atomic<int> helpers{0};  // slots 1.. handed out

  void Run(int slot) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      if (cancel == nullptr || !cancel->load(std::memory_order_relaxed)) (*body)(i, slot);
      done.fetch_add(1, std::memory_order_release);
    }
  }
  // A slot of a helper's own, or 0 where there is nothing to help with.
  int Join() {
    int helper = helpers.load(std::memory_order_relaxed);
    do {
      if (helper >= max_helpers || next.load(std::memory_order_relaxed) >= count) return 0;
    } while (!helpers.compare_exchange_weak(helper, helper + 1, std::memory_order_relaxed));
    return helper + 1;
  }
};

// Where loops are offered. A loop lives on its caller's stack: a worker counts itself as a visitor before it looks at the loop, the caller
// takes the loop off before it looks at the visitors, and all four in one order, so that either sees the other.
struct alignas(64) Board {
  std::atomic<bool> taken{false};
  std::atomic<Loop*> loop{nullptr};
  std::atomic<int> visitors{0};
};
class Boards {
 public:
  // A board that offers the loop until Remove, or null: all are taken.
  Board* Offer(Loop* loop) {
    for (Board& board : boards_) {
      if (board.taken.load(std::memory_order_relaxed) || board.taken.exchange(true, std::memory_order_acquire)) continue;
      board.loop.store(loop);
      return &board;
    }
    return nullptr;
  }
  // The loop is none of the workers' business any more: only shares already begun are outstanding, so the wait is at most one share long.
  static void Remove(const Loop& loop, Board* board) {
    board->loop.store(nullptr);
    for (int spins = 0; loop.done.load(std::memory_order_acquire) < loop.count || board->visitors.load() > 0;) {
      if (++spins < kMaxPausesBeforeYield) REPFUSE_PAUSE();
      else std::this_thread::yield();
    }
    board->taken.store(false, std::memory_order_release);
  }
  // Helps with the first loop that wants help; false where none does. Calls `joined` in between.
  template <typename Joined>
  bool Help(const Joined& joined) {
    for (Board& board : boards_) {
      if (board.loop.load(std::memory_order_relaxed) == nullptr) continue;
      board.visitors.fetch_add(1);
      Loop* loop = board.loop.load();
      const int slot = loop == nullptr ? 0 : loop->Join();
      if (slot > 0) {
        joined();
        loop->Run(slot);
      }
      board.visitors.fetch_sub(1, std::memory_order_release);
      if (slot > 0) return true;
    }
    return false;
  }

 private:
  std::array<Board, kMaxThreads> boards_;
};

class Pool {
 public:
  void RunLoop(Loop& loop) {
    EnsureWorkers(loop.max_helpers);
    Board* board = boards_.Offer(&loop);
    if (board == nullptr) return loop.Run(0);
    version_.fetch_add(1);
    if (sleepers_.load() > 0 && spinning_.load(std::memory_order_relaxed) < loop.max_helpers) {
      std::lock_guard lock(mutex_);
      Wake(loop.max_helpers);
    }
    loop.Run(0);
    Boards::Remove(loop, board);
  }

  void Enqueue(std::function<void()> job, int workers) {
    EnsureWorkers(workers);
    if (size() == 0) return job();
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    queued_.store(jobs_.size(), std::memory_order_relaxed);
    version_.fetch_add(1);
    Wake(static_cast<int>(jobs_.size()));
  }

  int size() const { return workers_.load(std::memory_order_relaxed); }

 private:
  struct Sleeper {
    std::condition_variable wake;
    bool called = false;
  };

  // Has that many workers look for work, under the mutex: those that spin, then those that fell asleep last. No more: waking one costs more
  // than a small layer.
  void Wake(int wanted) {
    for (int called = spinning_.load(std::memory_order_relaxed); called < wanted && !sleeping_.empty(); ++called) {
      sleeping_.back()->called = true;
      sleeping_.back()->wake.notify_one();
      sleeping_.pop_back();
      sleepers_.fetch_sub(1);
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
    for (;;) {
      const uint64_t seen = version_.load();
      // Who was counted on for a job is busy with the loop now.
      const auto joined = [this] {
        if (queued_.load(std::memory_order_relaxed) == 0) return;
        std::lock_guard lock(mutex_);
        if (!jobs_.empty()) Wake(1);
      };
      if (boards_.Help(joined) || RunJob()) continue;
      spinning_.fetch_add(1, std::memory_order_relaxed);
      Spin(seen);
      spinning_.fetch_sub(1, std::memory_order_relaxed);
      if (version_.load() == seen) Sleep(&self, seen);
    }
  }

  bool RunJob() {
    if (queued_.load(std::memory_order_relaxed) == 0) return false;
    std::function<void()> job;
    {
      std::lock_guard lock(mutex_);
      if (jobs_.empty()) return false;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      queued_.store(jobs_.size(), std::memory_order_relaxed);
      if (!jobs_.empty()) Wake(1);
    }
    job();
    return true;
  }

  // Until called, or not at all where there is something new. Who offers something changes the version and then looks for sleepers; this
  // is among them before it looks at the version.
  void Sleep(Sleeper* self, uint64_t seen) {
    std::unique_lock lock(mutex_);
    self->called = false;
    sleeping_.push_back(self);
    sleepers_.fetch_add(1);
    if (version_.load() != seen) {
      sleeping_.pop_back();
      sleepers_.fetch_sub(1);
      return;
    }
    self->wake.wait(lock, [&] { return self->called; });
  }

  // Until there is something new, or for a while. Gives up its turn again and again: the event loop that a job has just called has to have
  // a core, and the scheduler would let it wait for a share of milliseconds.
  void Spin(uint64_t seen) const {
    const auto end = std::chrono::steady_clock::now() + kMaxIdleSpin;
    do {
      for (int i = 0; i < kSpins; ++i) {
        if (version_.load(std::memory_order_acquire) != seen) return;
        REPFUSE_PAUSE();
      }
      std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < end);
  }

  Boards boards_;
  alignas(64) std::atomic<uint64_t> version_{0};  // of what is offered
  std::atomic<int> workers_{0};
  std::atomic<int> spinning_{0};  // workers
  std::atomic<int> sleepers_{0};
  std::atomic<size_t> queued_{0};  // jobs
  std::mutex mutex_;               // of all below
  std::deque<std::function<void()>> jobs_;
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
