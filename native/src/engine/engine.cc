#include "repfuse/engine.h"

#include <algorithm>
#include <list>
#include <mutex>

#include "operators/operator.h"
#include "plan.h"
#include "shapes.h"

namespace repfuse {
namespace {

// Bytes that plans may hold for runs to come, beside those of the one that needs most.
constexpr size_t kIdleContexts = 16 << 20;

class CompilingEngine final : public Engine {
 public:
  CompilingEngine(Network network, EngineOptions options)
      : network_(std::move(network)), options_(options), weights_(network_, {options_, Kernels(), 1}) {}

  Status OutputShapes(std::span<const Shape> inputs, std::vector<Shape>* outputs, std::span<const NodeSizes> sizes) override {
    std::vector<Shape> shapes;
    std::vector<ValueType> types;
    std::unique_lock compiling(compiling_, std::defer_lock);
    if (!sizes.empty()) compiling.lock();
    Status status = Settle(sizes);
    if (status.ok()) status = InferShapes(network_, inputs, &shapes, &types);
    if (!status.ok()) return status;
    outputs->clear();
    for (const int output : network_.outputs) outputs->push_back(shapes[static_cast<size_t>(output)]);
    return Ok();
  }

  Status Prepare(std::span<const Shape> inputs, int threads, std::span<const NodeSizes> sizes) override {
    std::shared_ptr<Plan> plan;
    return PlanFor(inputs, sizes, threads, &plan);
  }

  Status Run(std::span<const Shape> shapes, std::span<const std::span<const float>> inputs, std::span<const std::span<float>> outputs,
             int threads, std::span<const NodeSizes> sizes) override {
    std::shared_ptr<Plan> plan;
    Status status = PlanFor(shapes, sizes, threads, &plan);
    if (!status.ok()) return status;
    status = plan->Run(inputs, outputs, threads);
    DropIdleContexts();
    return status;
  }

  Status Explain(std::span<const Shape> inputs, int threads, std::vector<StepReport>* out, std::span<const NodeSizes> sizes) override {
    std::shared_ptr<Plan> plan;
    const Status status = PlanFor(inputs, sizes, threads, &plan);
    if (status.ok()) *out = plan->Explain();
    return status;
  }

  EngineMemory memory() const override {
    EngineMemory memory{};
    memory.source_weights = weights_.plain_bytes();
    memory.packed_weights = weights_.packed_bytes();
    std::lock_guard lock(mutex_);
    for (const auto& plan : plans_) {
      memory.activations += plan->activation_bytes();
      memory.workspace += plan->workspace_bytes();
    }
    return memory;
  }

 private:
  // The plan used last stands first.
  Status PlanFor(std::span<const Shape> inputs, std::span<const NodeSizes> sizes, int threads, std::shared_ptr<Plan>* out) {
    std::unique_lock compiling(compiling_, std::defer_lock);
    for (int attempt = 0;; ++attempt) {
      {
        std::lock_guard lock(mutex_);
        const auto found =
            std::find_if(plans_.begin(), plans_.end(), [&](const auto& plan) { return std::ranges::equal(plan->inputs(), inputs); });
        if (found != plans_.end()) {
          plans_.splice(plans_.begin(), plans_, found);
          *out = plans_.front();
          return Ok();
        }
      }
      if (attempt == 1) break;
      compiling.lock();  // one at a time: weights are packed once, and whoever waited finds the plan
    }
    DropUnused();
    Status status = Settle(sizes);
    if (status.ok()) status = Plan::Compile(network_, {options_, Kernels(), threads}, weights_, inputs, out);
    ReturnFreedMemory();  // of weights that are packed now
    if (!status.ok()) return status;
    std::lock_guard lock(mutex_);
    plans_.push_front(*out);
    if (plans_.size() > static_cast<size_t>(std::max(options_.plans, 1))) plans_.pop_back();
    return Ok();
  }

  // A plan made ahead that no run asked for: of one image, where others come.
  void DropUnused() {
    std::lock_guard lock(mutex_);
    plans_.remove_if([](const auto& plan) { return plan.use_count() == 1 && !plan->has_run(); });
  }

  // Runs of many shapes by turns hold the memory of the largest: what the others are left with is cleared again when they come back.
  void DropIdleContexts() {
    std::lock_guard lock(mutex_);
    size_t largest = 0, held = 0;
    for (const auto& plan : plans_) {
      const size_t bytes = plan->activation_bytes() + plan->workspace_bytes();
      largest = std::max(largest, bytes);
      held += bytes;
    }
    for (auto plan = plans_.rbegin(); plan != plans_.rend() && *plan != plans_.front() && held > largest + kIdleContexts; ++plan)
      held -= (*plan)->DropFreeContexts();
  }

  // Gives nodes the sizes that they have for the inputs at hand; no plan looks at its nodes once it is compiled.
  Status Settle(std::span<const NodeSizes> sizes) {
    for (const NodeSizes& of : sizes) {
      if (of.node >= network_.nodes.size()) return {Code::kInvalidArgument, "sizes"};
      NetworkNode& node = network_.nodes[of.node];
      if (node.op->is_convolution()) return {Code::kInvalidArgument, "sizes"};
      node.ints = of.ints;
      node.resize.sizes = of.resize;
      Status checked = CheckNode(node);
      checked.where = static_cast<long long>(of.node);
      if (!checked.ok()) return checked;
    }
    return Ok();
  }

  Network network_;  // its sizes only under `compiling_`
  const EngineOptions options_;
  WeightStore weights_;
  std::mutex compiling_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<Plan>> plans_;
};

}  // namespace

Status Engine::Create(Network network, EngineOptions options, std::shared_ptr<Engine>* out) {
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    NetworkNode& node = network.nodes[i];
    node.weight_count =
        static_cast<int64_t>(node.weight.bytes() / sizeof(float));  // the nodes outlive their weights, which the store takes
    Status checked = CheckNode(node);
    checked.where = static_cast<long long>(i);
    if (!checked.ok()) return checked;
  }
  *out = std::make_shared<CompilingEngine>(std::move(network), options);
  return Ok();
}

}  // namespace repfuse
