// A network compiled for one shape of each input.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "repfuse/engine.h"
#include "step.h"
#include "weight_store.h"

namespace repfuse {

// Memory of one run.
struct Context {
  AlignedBuffer memory;
  std::vector<float*> slots;
  float* workspace = nullptr;
};

class Plan {
 public:
  static Status Compile(const Network& network, const Target& target, WeightStore& store, std::span<const Shape> inputs,
                        std::shared_ptr<Plan>* out);

  Status Run(std::span<const std::span<const float>> inputs, std::span<const std::span<float>> outputs, int threads);
  std::vector<StepReport> Explain() const;

  const std::vector<Shape>& inputs() const { return inputs_; }
  size_t activation_bytes() const;
  size_t workspace_bytes() const;
  bool has_run() const;
  // Bytes that are free again; runs under way keep theirs.
  size_t DropFreeContexts();

 private:
  struct Entry {
    std::unique_ptr<Step> step;  // none of a view
    StepReport report;
    int most_threads = 1;
    std::atomic<double> seconds{0};
  };

  // Of one run's memory; with `mutex_` held.
  size_t ActivationBytes() const;
  size_t WorkspaceBytes() const;
  Checked Elements(int threads) const;
  // A free context, or a new one.
  std::unique_ptr<Context> Acquire(int threads);
  void Release(std::unique_ptr<Context> context);

  std::vector<Shape> inputs_;
  std::vector<size_t> output_counts_;  // elements
  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<int64_t> slot_sizes_;  // elements
  int64_t workspace_ = 0;            // elements of a thread
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Context>> free_;
  size_t contexts_ = 0;
  bool has_run_ = false;
  int threads_ = 1;  // that the contexts have workspace for
};

}  // namespace repfuse
