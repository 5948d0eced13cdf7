// One step of a plan: reads values, writes one, takes no memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "layout.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse {

// A value of the plan: where it is and how it lies.
struct Value {
  int slot = -1;
  Layout layout;
};

// What one run works on.
struct RunState {
  float* const* slots;
  std::span<const std::span<const float>> inputs;  // of the caller, row-major
  std::span<const std::span<float>> outputs;
  float* workspace;        // of the first thread
  int64_t workspace_size;  // elements from one thread's to the next
  int threads;

  float* at(const Value& value) const { return slots[value.slot]; }
};

class Step {
 public:
  explicit Step(Value output) : output_(output) {}
  virtual ~Step() = default;
  virtual void Run(const RunState& run) const = 0;
  // Elements that each thread needs besides.
  virtual int64_t workspace() const { return 0; }
  virtual std::string kernel() const = 0;

 protected:
  float* out(const RunState& run) const { return run.slots[output_.slot]; }

  Value output_;
};

// Denormals count as zero while one lives: a ReLU network fed with them would otherwise run at a hundredth of its speed.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

// Pieces of what one thread begins with, which another takes where it is done before.
inline constexpr int64_t kPieces = 4;

// ParallelFor for steps, in ranges: calls body(begin, end, slot), no memory for the closure, denormals flushed on every thread. Each thread
// begins with neighbours, which the steps before and after also give it, and then helps the others: one that has lost its core is not
// waited for longer than a piece takes.
template <typename Body>
void ForRanges(int64_t count, int threads, const Body& body) {
  if (threads == 1 || count == 1) return body(0, count, 0);  // the caller of a step has flushed denormals
  struct {
    int64_t count, lanes, pieces;
    const Body& body;
    std::atomic<int64_t> begun[kMaxThreads];  // pieces of a lane
  } work{count, std::min({count, int64_t{threads}, int64_t{kMaxThreads}}), 1, body, {}};
  work.pieces = std::clamp<int64_t>(count / work.lanes, 1, kPieces);
  ParallelFor(work.lanes, threads, [&work](int64_t first, int slot) {
    const FlushDenormals flush;
    const int64_t all = work.lanes * work.pieces;
    for (int64_t i = 0; i < work.lanes; ++i) {
      const int64_t lane = (first + i) % work.lanes;
      for (int64_t piece; (piece = work.begun[lane].fetch_add(1, std::memory_order_relaxed)) < work.pieces;) {
        const int64_t index = lane * work.pieces + piece;
        work.body(work.count * index / all, work.count * (index + 1) / all, slot);
      }
    }
  });
}

// The same one by one: body(index, slot).
template <typename Body>
void ForEach(int64_t count, int threads, const Body& body) {
  ForRanges(count, threads, [&](int64_t begin, int64_t end, int slot) {
    for (int64_t i = begin; i < end && !Cancelled(); ++i) body(i, slot);
  });
}

// Elements that lie in a row, some at a time: body(first, count).
template <typename Body>
void ForElements(int64_t elements, int threads, const Body& body) {
  constexpr int64_t kTogether = 1 << 12;
  ForRanges((elements + kTogether - 1) / kTogether, threads,
            [&](int64_t begin, int64_t end, int) { body(begin * kTogether, std::min(end * kTogether, elements) - begin * kTogether); });
}

// Every row of a layout's maps: body(image, plane, row).
template <typename Body>
void ForRows(const Layout& layout, int threads, const Body& body) {
  const int64_t height = layout.shape.height, planes = layout.planes();
  ForRanges(layout.shape.batch * planes * height, threads, [&](int64_t begin, int64_t end, int) {
    int64_t y = begin % height, plane = begin / height % planes, n = begin / height / planes;
    for (int64_t i = begin; i < end && !Cancelled(); ++i) {
      body(n, plane, y);
      if (++y < height) continue;
      y = 0;
      if (++plane < planes) continue;
      plane = 0;
      ++n;
    }
  });
}

}  // namespace repfuse
