#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "image_steps.h"
#include "memory_plan.h"
#include "shapes.h"
#include "tensor_shapes.h"
#include "tensor_steps.h"

namespace repfuse {
namespace {

// Elements between two threads' workspaces: fetched ahead of its own use, what the neighbour writes would go back and forth between their
// cores.
constexpr int64_t kWorkspaceGap = int64_t{64} << 10;

// Nanoseconds of one thread that are less than what it takes to share the work: a step below runs on one thread.
constexpr double kMinParallelNs = 15e3;

// Roughly: the table of rates is of convolutions only, and is asked for their kernels.
double NanosecondsOf(const StepReport& report) { return report.macs * 0.02 + static_cast<double>(report.output.count()) * 0.5; }

using Weights = std::vector<std::shared_ptr<const PackedWeights>>;  // of each node, packed as its choice wants them

WeightForm FormOf(const Network& network, size_t i, const MemoryPlan& memory_plan) {
  const ConvChoice& choice = memory_plan.choice(i);
  const bool planar = memory_plan.value(network.nodes[i].inputs[0]).layout.form == Layout::Form::kPlanar;
  return {choice.method, planar, choice.tile.blocks, choice.terms, choice.row_taps};
}

// Of an axis: a stride leads nowhere where there is one window, nor a dilation where there is one tap. Their products with anything then
// fit.
int64_t StepOf(int64_t step, int64_t steps) { return steps == 1 ? 1 : step; }

ConvSetting SettingOf(const Network& network, size_t i, const MemoryPlan& memory_plan, const Weights& weights, const KernelTable& kernels) {
  const NetworkNode& node = network.nodes[i];
  const bool terms = MultipliesTerms(memory_plan.choice(i).method);
  const Value input = terms ? memory_plan.terms(node.inputs[0]) : memory_plan.value(node.inputs[0]);
  const ImageShape& output = memory_plan.value(static_cast<int>(i) + 1).layout.shape;
  return {.input = input,
          .residual = node.inputs.size() > 1 ? std::optional(memory_plan.value(node.inputs[1])) : std::nullopt,
          .weights = weights[i],
          .channels = GroupsOf(node, input.layout.shape),
          .kernel_h = node.kernel_h,
          .kernel_w = node.kernel_w,
          .stride_h = StepOf(node.stride_h, output.height),
          .stride_w = StepOf(node.stride_w, output.width),
          .dilation_h = StepOf(node.dilation_h, node.kernel_h),
          .dilation_w = StepOf(node.dilation_w, node.kernel_w),
          .pad_top = node.pad_top,
          .pad_left = node.pad_left,
          .epilogue = Epilogue(node, kernels),
          .kernels = &kernels,
          .form = FormOf(network, i, memory_plan)};
}

// Whether all that the windows of one axis read lies in the map or its border.
bool StaysInside(int64_t windows, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad, int64_t size, const Layout& layout) {
  return pad <= layout.before && (windows - 1) * stride + (kernel - 1) * dilation - pad < size + layout.after;
}

// What every method but the plain definition takes for granted.
bool StaysInside(const ConvSetting& s, const ImageShape& output) {
  const Layout& in = s.input.layout;
  return StaysInside(output.height, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, in.shape.height, in) &&
         StaysInside(output.width, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, in.shape.width, in);
}

// Null where the layouts are not what the method needs.
std::unique_ptr<Step> MakeConv(const Network& network, size_t i, const MemoryPlan& memory_plan, const Weights& weights,
                               const KernelTable& kernels, int threads) {
  ConvSetting setting = SettingOf(network, i, memory_plan, weights, kernels);
  Value output = memory_plan.value(static_cast<int>(i) + 1);
  if (memory_plan.choice(i).method == ConvMethod::kFloat64) return MakeFloat64Conv(std::move(setting), output);
  if (i > 0 && memory_plan.IsInner(i - 1)) {
    ConvSetting depthwise = SettingOf(network, i - 1, memory_plan, weights, kernels);
    if (!StaysInside(depthwise, setting.input.layout.shape) || !StaysInside(setting, output.layout.shape)) return nullptr;
    return MakeSeparableConv(std::move(depthwise), std::move(setting), memory_plan.choice(i).tile, threads, output);
  }
  const auto are_vectors = [](const Value& value) { return value.layout.form == Layout::Form::kVectors; };
  if (are_vectors(setting.input) && are_vectors(output) && (!setting.residual || are_vectors(*setting.residual))) {
    setting.input.layout = setting.input.layout.AsPixels();
    output.layout = output.layout.AsPixels();
    if (setting.residual) setting.residual->layout = setting.residual->layout.AsPixels();
  }
  if (!StaysInside(setting, output.layout.shape)) return nullptr;
  const ConvChoice& choice = memory_plan.choice(i);
  switch (choice.method) {
    case ConvMethod::kDepthwise: return MakeDepthwiseConv(std::move(setting), output);
    case ConvMethod::kWinograd2: return MakeWinogradConv(std::move(setting), 2, choice.tile, threads, output);
    case ConvMethod::kWinograd4: return MakeWinogradConv(std::move(setting), 4, choice.tile, threads, output);
    case ConvMethod::kFloat64:  // made above
    case ConvMethod::kDirect:
    case ConvMethod::kPairs:
    case ConvMethod::kTiles: break;
  }
  return MakeDenseConv(std::move(setting), choice.tile, threads, output);
}

std::unique_ptr<Step> MakeOther(const NetworkNode& node, const MemoryPlan& memory_plan, const std::vector<Shape>& shapes, int value,
                                const KernelTable& kernels) {
  const Value output = memory_plan.value(value);
  std::vector<Value> inputs;
  std::vector<TensorValue> tensors;
  for (const int index : node.inputs) {
    inputs.push_back(memory_plan.value(index));
    tensors.push_back({inputs.back(), shapes[static_cast<size_t>(index)]});
  }
  // What works on both forms has steps for tensors of any rank, where the others would not do.
  const bool images = !inputs.empty() && inputs[0].layout.form != Layout::Form::kPlanar;
  if (!images) {
    if (auto step = MakeTensorStep(node, tensors, kernels, {output, shapes[static_cast<size_t>(value)]})) return step;
  }
  const Value input = inputs[0];
  const WindowSetting window{node.kernel_h, node.kernel_w, node.stride_h,   node.stride_w,  node.dilation_h,       node.dilation_w,
                             node.pad_top,  node.pad_left, node.pad_bottom, node.pad_right, node.count_include_pad};
  switch (node.kind) {
    case NodeKind::kMaxPool: return MakeMaxPool(input, window, output);
    case NodeKind::kAveragePool: return MakeAveragePool(input, window, output);
    case NodeKind::kGlobalAveragePool: return MakeGlobalAveragePool(input, output);
    case NodeKind::kActivation: return MakeActivation(input, Function(node, kernels), output);
    case NodeKind::kAdd: return MakeAdd(input, inputs[1], Function(node, kernels), kernels, output);
    case NodeKind::kBinary: return MakeImageBinary(node, inputs, output);
    case NodeKind::kConcat: return MakeImageConcat(inputs, output);
    case NodeKind::kResize: return MakeResize(ResizeLike(node.resize, tensors.size() > 1 ? &tensors[1].shape : nullptr), input, output);
    case NodeKind::kDepthToSpace: return MakeDepthToSpace(node, input, output);
    case NodeKind::kToTensor: return MakeToTensor(input, output);
    case NodeKind::kToImages: return MakeToImages(input, output);
    case NodeKind::kGate: return MakeGate(input, inputs[1], output);
    case NodeKind::kSoftmax: return MakeSoftmax(input, output);
    case NodeKind::kFlatten: return MakeFlatten(input, output);
    case NodeKind::kFrame: {
      const float* fill = node.bias.as<float>();
      const size_t channels = node.bias.bytes() / sizeof(float);
      return MakeFrame(input, node.pad_top, node.pad_left, std::vector<float>(fill, fill + channels), output);
    }
    default: return nullptr;
  }
}

// Of a convolution, before it has run; with the one that is computed in the same step.
StepReport ReportOfConv(const Network& network, size_t i, const std::vector<Shape>& shapes, const MemoryPlan& memory_plan,
                        const Weights& weights) {
  const NetworkNode& node = network.nodes[i];
  const Shape &input = shapes[static_cast<size_t>(node.inputs[0])], &output = shapes[i + 1];
  StepReport report{.name = node.name, .kernel = {}, .output = output, .macs = 0, .bytes = 0, .estimate = 0, .seconds = 0};
  report.macs = static_cast<double>(output.count()) * static_cast<double>(input[1] / node.groups * node.kernel_h * node.kernel_w);
  report.bytes = static_cast<double>(weights[i]->bytes());
  report.estimate = memory_plan.choice(i).estimate;
  if (i == 0 || !memory_plan.IsInner(i - 1)) return report;
  const StepReport inner = ReportOfConv(network, i - 1, shapes, memory_plan, weights);
  report.name = inner.name + " + " + report.name;
  report.macs += inner.macs;
  report.bytes += inner.bytes;
  report.estimate += inner.estimate;
  return report;
}

Checked WeightBytes(const Network& network) {
  Checked bytes = 0;
  for (const NetworkNode& node : network.nodes) bytes += Checked(node.weight_count) * 4 + static_cast<int64_t>(node.bias.bytes());
  return bytes;
}

}  // namespace

Status Plan::Compile(const Network& network, const EngineOptions& options, WeightStore& store, const ImageShape& input, int threads,
                     std::shared_ptr<Plan>* out) {
  std::vector<Shape> shapes;
  std::vector<Form> forms;
  const Status inferred = InferShapes(network, input, &shapes, &forms);
  if (!inferred.ok()) return inferred;
  const KernelTable& kernels = Kernels();
  const MemoryPlan memory_plan(network, options, kernels, threads, shapes, forms);
  auto plan = std::make_shared<Plan>();
  plan->input_ = input;
  plan->slot_sizes_ = memory_plan.slot_sizes();
  const int64_t limit = options.memory.For(shapes[0].checked_count() * 4, WeightBytes(network));
  const Status fits = memory_plan.FitsInto(limit);
  if (!fits.ok()) return fits;

  Weights weights(network.nodes.size());
  std::atomic<bool> failed{false};
  ParallelFor(static_cast<int64_t>(network.nodes.size()), threads, [&](int64_t index, int) {
    const size_t i = static_cast<size_t>(index);
    const NetworkNode& node = network.nodes[i];
    if (!IsConv(node)) return;
    const Value from = memory_plan.value(node.inputs[0]);
    weights[i] = store.Get(i, FormOf(network, i, memory_plan), GroupsOf(node, from.layout.shape));
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
                      .output = shapes[static_cast<size_t>(value)],
                      .macs = 0,
                      .bytes = 0,
                      .estimate = 0,
                      .seconds = 0};
  };
  const auto add_twin = [&](std::string name, int value) {
    if (memory_plan.HasTwin(value))
      add(MakeSplit(memory_plan.value(value), kernels, memory_plan.terms(value)), report(std::move(name), value));
  };
  add(MakeIngest(kernels, memory_plan.value(0)), report("input", 0));
  add_twin("input", 0);
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    if (memory_plan.IsInner(i)) continue;
    const int value = static_cast<int>(i) + 1;
    if (IsConv(network.nodes[i]))
      add(MakeConv(network, i, memory_plan, weights, kernels, threads), ReportOfConv(network, i, shapes, memory_plan, weights), value - 1);
    else if (!memory_plan.IsAlias(i))
      add(MakeOther(network.nodes[i], memory_plan, shapes, value, kernels), report(network.nodes[i].name, value), value - 1);
    add_twin(network.nodes[i].name, value);
  }
  for (size_t k = 0; k < network.outputs.size(); ++k)
    add(MakeDeliver(memory_plan.value(network.outputs[k]), k), report("output", network.outputs[k]));
  if (!made.ok()) return made;
  const Checked elements = plan->Elements(threads);
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

Status Plan::Run(const float* x, float* const* outputs, int threads) {
  std::unique_ptr<Context> context = Acquire(threads);
  if (context == nullptr) return {Code::kOutOfMemory, "activations"};
  RunState run{.slots = context->slots.data(),
               .input = x,
               .outputs = outputs,
               .workspace = context->workspace,
               .workspace_size = workspace_ + kWorkspaceGap,
               .threads = threads};
  {
    const FlushDenormals flush;
    auto before = std::chrono::steady_clock::now();
    for (const auto& entry : entries_) {
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

size_t Plan::activation_bytes() const {
  std::lock_guard lock(mutex_);
  int64_t elements = 0;
  for (const int64_t size : slot_sizes_) elements += size;
  return static_cast<size_t>(elements) * sizeof(float) * contexts_;
}

size_t Plan::workspace_bytes() const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(workspace_ * threads_) * sizeof(float) * contexts_;
}

}  // namespace repfuse
