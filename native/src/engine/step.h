// One step of a plan: reads values, writes one, takes no memory.
#pragma once

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
  const float* input;  // of the caller, NCHW
  float* const* outputs;
  float* workspace;        // of the first thread
  int64_t workspace_size;  // elements from one thread's to the next
  int threads;
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

// ParallelFor for steps: no memory for the closure, denormals flushed on every thread.
template <typename Body>
void ForEach(int64_t count, int threads, const Body& body) {
  if (threads == 1 || count == 1) {  // the caller of a step has flushed denormals
    for (int64_t i = 0; i < count && !Cancelled(); ++i) body(i, 0);
    return;
  }
  struct {
    int64_t count, lanes;
    const Body& body;
  } const work{count, std::min<int64_t>(count, threads), body};
  ParallelFor(work.lanes, threads, [&work](int64_t lane, int slot) {
    const FlushDenormals flush;
    const int64_t end = work.count * (lane + 1) / work.lanes;
    for (int64_t i = work.count * lane / work.lanes; i < end && !Cancelled(); ++i) work.body(i, slot);
  });
}

// An activation with its parameters, on spans; x may equal y.
class Function {
 public:
  Function() = default;
  Function(const NetworkNode& node, const KernelTable& kernels);
  explicit operator bool() const { return active_; }
  void operator()(const float* x, float* y, size_t n) const;

 private:
  bool active_ = false;
  Activation activation_ = Activation::kRelu;
  float alpha_ = 0, beta_ = 0;
  UnaryF32 kernel_ = nullptr;  // of those that have one
};

// An activation as what a tile can do by itself (bounds) and what must follow.
struct Epilogue {
  float low, high;
  Function after;

  Epilogue(const NetworkNode& node, const KernelTable& kernels);
};

}  // namespace repfuse
