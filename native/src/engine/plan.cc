#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "conv_step.h"
#include "edge_steps.h"
#include "epilogue.h"
#include "memory_plan.h"
#include "operators/resize.h"
#include "shapes.h"

namespace repfuse {
namespace {

// Elements between two threads' workspaces: fetched ahead of its own use, what the neighbour writes would go back and forth between their
// cores.
constexpr int64_t kWorkspaceGap = int64_t{64} << 10;

// Nanoseconds of one thread that are less than what it takes to share the work: a step below runs on one thread.
constexpr double kMinParallelNs = 15e3;

// Roughly: the table of rates is of convolutions only, and is asked for their kernels.
double NanosecondsOf(const StepReport& report) { return report.macs * 0.02 + static_cast<double>(report.output.count()) * 0.5; }

// What steps of nodes that are no convolutions are made of.
class Parts {
 public:
  Parts(const Network& network, size_t node, const MemoryPlan& memory_plan, const std::vector<Shape>& shapes,
        const std::vector<ValueType>& types, const KernelTable& kernels)
      : node_(network.nodes[node]), kernels_(kernels) {
    const auto shaped = [&](int index) {
      return ShapedValue{memory_plan.value(index), shapes[static_cast<size_t>(index)], memory_plan.row_sums(index)};
    };
    const int value = network.value_of(node);
    for (const int index : node_.inputs) inputs_.push_back(shaped(index));
    output_ = shaped(value);
    type_ = types[static_cast<size_t>(node_.inputs.empty() ? value : node_.inputs[0])];
  }
  StepParts get() const { return {node_, inputs_, output_, type_, kernels_}; }

 private:
  const NetworkNode& node_;
  const KernelTable& kernels_;
  std::vector<ShapedValue> inputs_;
  ShapedValue output_;
  ValueType type_;
};

Checked WeightBytes(const Network& network) {
  Checked bytes = 0;
  for (const NetworkNode& node : network.nodes) bytes += Checked(node.weight_count) * 4 + static_cast<int64_t>(node.bias.bytes());
  return bytes;
}

}  // namespace

Status Plan::Compile(const Network& network, const Target& target, WeightStore& store, std::span<const Shape> inputs,
                     std::shared_ptr<Plan>* out) {
  std::vector<Shape> shapes;
  std::vector<ValueType> types;
  const Status inferred = InferShapes(network, inputs, &shapes, &types);
  if (!inferred.ok()) return inferred;
  const MemoryPlan memory_plan(network, target, shapes, types);
  auto plan = std::make_shared<Plan>();
  plan->inputs_.assign(inputs.begin(), inputs.end());
  plan->slot_sizes_ = memory_plan.slot_sizes();
  Checked given = 0;
  for (const Shape& shape : inputs) given += shape.checked_count() * 4;
  const int64_t limit = target.options.memory.For(given, WeightBytes(network));
  const Status fits = memory_plan.FitsInto(limit);
  if (!fits.ok()) return fits;

  NodeWeights weights(network.nodes.size());
  std::atomic<bool> failed{false};
  ParallelFor(static_cast<int64_t>(network.nodes.size()), target.threads, [&](int64_t index, int) {
    const size_t i = static_cast<size_t>(index);
    const NetworkNode& node = network.nodes[i];
    if (!node.op->is_convolution()) return;
    const Value from = memory_plan.value(node.inputs[0]);
    weights[i] = store.Get(i, WeightPackingOf(network, i, memory_plan), GroupsOf(node, from.layout.shape));
    if (weights[i] == nullptr) failed = true;
  });
  if (Cancelled()) return {Code::kCancelled, "cancelled"};
  if (failed) return {Code::kOutOfMemory, "packed weights"};

  Status made = Ok();
  long long largest = -1;  // the node whose workspace that is
  const auto add = [&](std::unique_ptr<Step> step, StepReport report, long long where = -1) {
    if (step == nullptr) {
      if (made.ok()) made = {Code::kInvalidArgument, "a layout that its kernel cannot read", where};
      return;
    }
    auto entry = std::make_unique<Entry>();
    report.kernel = step->kernel();
    entry->report = std::move(report);
    entry->most_threads = NanosecondsOf(entry->report) < kMinParallelNs ? 1 : kMaxThreads;
    const int64_t workspace = RoundUp(step->workspace());
    if (workspace > plan->workspace_) plan->workspace_ = workspace, largest = where;
    entry->step = std::move(step);
    plan->entries_.push_back(std::move(entry));
  };
  const auto report = [&](std::string name, int value) {
    return StepReport{.name = std::move(name),
                      .kernel = {},
                      .epilogue = {},
                      .output = shapes[static_cast<size_t>(value)],
                      .macs = 0,
                      .bytes = 0,
                      .estimate = 0,
                      .seconds = 0};
  };
  const auto parts_of = [&](size_t node) { return Parts(network, node, memory_plan, shapes, types, target.kernels); };
  const auto add_view = [&](StepReport view) {
    auto entry = std::make_unique<Entry>();
    view.kernel = "view";
    entry->report = std::move(view);
    plan->entries_.push_back(std::move(entry));
  };
  const auto add_twin = [&](std::string name, int value) {
    if (memory_plan.HasTwin(value))
      add(MakeSplit(memory_plan.value(value), target.kernels, memory_plan.terms(value)), report(std::move(name), value));
  };
  for (size_t k = 0; k < network.inputs.size(); ++k) {
    const int value = static_cast<int>(k);
    add(MakeIngest(target.kernels, memory_plan.value(value), k), report("input", value));
    add_twin("input", value);
  }
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (memory_plan.IsInner(i)) continue;
    const int value = network.value_of(i);
    const auto where = static_cast<long long>(i);
    if (network.nodes[i].op->is_convolution())
      add(MakeConvStep(network, i, memory_plan, weights, target), ReportOfConv(network, i, shapes, memory_plan, weights), where);
    else if (i > 0 && memory_plan.IsInner(i - 1) && network.nodes[i - 1].op == &kResize) {
      StepReport sum = report(network.nodes[i - 1].name + " + " + network.nodes[i].name, value);
      sum.epilogue = DescribeEpilogue(network.nodes[i]);
      add(MakeResizedSum(parts_of(i - 1).get(), network.value_of(i - 1), parts_of(i).get()), std::move(sum), where);
    } else if (i > 0 && memory_plan.IsInner(i - 1))
      add(MakeSpreadStep(network, i, memory_plan, weights, target), ReportOfSpread(network, i, shapes, memory_plan, weights), where);
    else if (memory_plan.IsView(i)) add_view(report(network.nodes[i].name, value));
    else if (!memory_plan.IsAlias(i)) {
      StepReport other = report(network.nodes[i].name, value);
      other.epilogue = DescribeEpilogue(network.nodes[i]);
      add(network.nodes[i].op->step(parts_of(i).get()), std::move(other), where);
    }
    add_twin(network.nodes[i].name, value);
  }
  for (size_t k = 0; k < network.outputs.size(); ++k) {
    add(MakeDeliver(memory_plan.value(network.outputs[k]), k), report("output", network.outputs[k]));
    plan->output_counts_.push_back(static_cast<size_t>(shapes[static_cast<size_t>(network.outputs[k])].count()));
  }
  if (!made.ok()) return made;
  const Checked elements = plan->Elements(target.threads);
  if (!elements.ok() || !(elements * 4).AtMost(limit)) return {Code::kTooLarge, "workspaces", largest};
  *out = std::move(plan);
  return Ok();
}

Checked Plan::Elements(int threads) const {
  Checked elements = (Checked(workspace_) + kWorkspaceGap) * threads - kWorkspaceGap;
  for (const int64_t size : slot_sizes_) elements += size;
  return elements;
}

std::unique_ptr<Context> Plan::Acquire(int threads) {
  {
    std::lock_guard lock(mutex_);
    has_run_ = true;
    if (threads > threads_) {
      contexts_ -= free_.size();
      free_.clear();
      threads_ = threads;
    }
    if (!free_.empty()) {
      auto context = std::move(free_.back());
      free_.pop_back();
      return context;
    }
    ++contexts_;
  }
  const Checked bytes = Elements(threads_) * 4;
  auto context = std::make_unique<Context>();
  if (!bytes.ok() || !context->memory.Allocate(static_cast<size_t>(bytes.value()))) {
    std::lock_guard lock(mutex_);
    --contexts_;
    return nullptr;
  }
  float* at = context->memory.as<float>();
  for (const int64_t size : slot_sizes_) {
    std::memset(at, 0, static_cast<size_t>(size) * sizeof(float));  // borders, and the channels that do not exist
    context->slots.push_back(at);
    at += size;
  }
  context->workspace = at;
  return context;
}

void Plan::Release(std::unique_ptr<Context> context) {
  std::lock_guard lock(mutex_);
  free_.push_back(std::move(context));
}

Status Plan::Run(std::span<const std::span<const float>> inputs, std::span<const std::span<float>> outputs, int threads) {
  const auto is_whole = [](const std::span<const float>& input, const Shape& shape) {
    return input.size() == static_cast<size_t>(shape.count());
  };
  if (!std::equal(inputs.begin(), inputs.end(), inputs_.begin(), inputs_.end(), is_whole)) return Fails("the sizes of the inputs");
  const auto fits = [](const std::span<float>& output, size_t count) { return output.size() == count; };
  if (!std::equal(outputs.begin(), outputs.end(), output_counts_.begin(), output_counts_.end(), fits))
    return Fails("the sizes of the outputs");
  std::unique_ptr<Context> context = Acquire(threads);
  if (context == nullptr) return {Code::kOutOfMemory, "activations"};
  RunState run{.slots = context->slots.data(),
               .inputs = inputs,
               .outputs = outputs,
               .workspace = context->workspace,
               .workspace_size = workspace_ + kWorkspaceGap,
               .threads = threads};
  {
    const FlushDenormals flush;
    auto before = std::chrono::steady_clock::now();
    for (const auto& entry : entries_) {
      if (entry->step == nullptr) continue;
      run.threads = std::min(threads, entry->most_threads);
      entry->step->Run(run);
      if (Cancelled()) break;
      const auto now = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(now - before).count(), known = entry->seconds.load(std::memory_order_relaxed);
      if (known == 0 || seconds < known) entry->seconds.store(seconds, std::memory_order_relaxed);
      before = now;
    }
  }
  Release(std::move(context));
  return Cancelled() ? Status{Code::kCancelled, "cancelled"} : Ok();
}

std::vector<StepReport> Plan::Explain() const {
  std::vector<StepReport> reports;
  for (const auto& entry : entries_) {
    reports.push_back(entry->report);
    reports.back().seconds = entry->seconds.load(std::memory_order_relaxed);
  }
  return reports;
}

size_t Plan::ActivationBytes() const {
  int64_t elements = 0;
  for (const int64_t size : slot_sizes_) elements += size;
  return static_cast<size_t>(elements) * sizeof(float);
}

size_t Plan::WorkspaceBytes() const { return static_cast<size_t>(workspace_ * threads_) * sizeof(float); }

size_t Plan::activation_bytes() const {
  std::lock_guard lock(mutex_);
  return ActivationBytes() * contexts_;
}

size_t Plan::workspace_bytes() const {
  std::lock_guard lock(mutex_);
  return WorkspaceBytes() * contexts_;
}

bool Plan::has_run() const {
  std::lock_guard lock(mutex_);
  return has_run_;
}

size_t Plan::DropFreeContexts() {
  std::lock_guard lock(mutex_);
  const size_t count = free_.size();
  contexts_ -= count;
  free_.clear();
  return count * (ActivationBytes() + WorkspaceBytes());
}

}  // namespace repfuse
