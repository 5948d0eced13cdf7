#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "shapes.h"

namespace repfuse {
namespace {

constexpr int64_t kMostPlanarChannels = 8;

int64_t RoundUp(int64_t elements) { return (elements + kBlock - 1) / kBlock * kBlock; }

ChannelGroups GroupsOf(const NetworkNode& node, const ImageShape& input) { return {input.channels, node.out_channels, node.groups}; }

// Decides how every value lies and which kernel makes it.
class Arrangement {
 public:
  Arrangement(const Network& network, const EngineOptions& options, const KernelTable& kernels, int threads, std::vector<ImageShape> shapes)
      : network_(network), shapes_(std::move(shapes)), layouts_(shapes_.size()), choices_(network.nodes.size()) {
    for (size_t value = 0; value < shapes_.size(); ++value) layouts_[value].shape = shapes_[value];
    if (ReadsPlanes()) layouts_[0].form = Layout::Form::kPlanar;
    for (size_t i = 0; i < network.nodes.size(); ++i) {
      const NetworkNode& node = network.nodes[i];
      if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) continue;
      const size_t input = static_cast<size_t>(node.inputs[0]);
      choices_[i] = ChooseConv(node, GroupsOf(node, shapes_[input]), layouts_[input], shapes_[i + 1], options, kernels, threads);
      NeedBorder(node, choices_[i], shapes_[i + 1], &layouts_[input]);
    }
    for (Layout& layout : layouts_) {
      const bool pixel = layout.shape.height == 1 && layout.shape.width == 1 && layout.before == 0 && layout.after == 0;
      if (pixel && layout.form == Layout::Form::kBlocked) layout.form = Layout::Form::kVectors;
    }
    // Vectors make the batch a row of pixels: another tile may suit it.
    for (size_t i = 0; i < network.nodes.size(); ++i) {
      const NetworkNode& node = network.nodes[i];
      if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) continue;
      const size_t input = static_cast<size_t>(node.inputs[0]);
      if (layouts_[input].form != Layout::Form::kVectors || layouts_[i + 1].form != Layout::Form::kVectors || IsDepthwise(GroupsOf(node, shapes_[input]))) continue;
      choices_[i] = ChooseConv(node, GroupsOf(node, shapes_[input]), layouts_[input], shapes_[i + 1], options, kernels, threads);
    }
    AssignSlots();
  }

  Value value(int index) const { return {slots_[static_cast<size_t>(index)], layouts_[static_cast<size_t>(index)]}; }
  const ConvChoice& choice(size_t node) const { return choices_[node]; }
  // Two values that are one in memory.
  bool IsAlias(const NetworkNode& node, size_t i) const {
    return node.kind == NodeKind::kFlatten && layouts_[static_cast<size_t>(node.inputs[0])].form == Layout::Form::kVectors &&
           layouts_[i + 1].form == Layout::Form::kVectors;
  }
  const std::vector<int64_t>& slot_sizes() const { return slot_sizes_; }

 private:
  // Few channels that only dense convolutions read: blocks of 16 would mostly hold zeros.
  bool ReadsPlanes() const {
    if (shapes_[0].channels > kMostPlanarChannels || network_.output == 0) return false;
    for (const NetworkNode& node : network_.nodes) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i] == 0 && (node.kind != NodeKind::kConv || node.groups != 1 || i > 0)) return false;
      }
    }
    return true;
  }

  static void NeedBorder(const NetworkNode& node, const ConvChoice& choice, const ImageShape& output, Layout* input) {
    input->before = std::max({input->before, node.pad_top, node.pad_left});
    input->after = std::max({input->after, node.pad_bottom, node.pad_right});
    if (choice.method != ConvMethod::kWinograd2 && choice.method != ConvMethod::kWinograd4) return;
    // The last tiles hang over the edge.
    const int64_t m = choice.method == ConvMethod::kWinograd2 ? 2 : 4;
    const int64_t rows = (output.height + m - 1) / m * m + 2 - node.pad_top, columns = (output.width + m - 1) / m * m + 2 - node.pad_left;
    input->after = std::max({input->after, rows - input->shape.height, columns - input->shape.width});
  }

  // Values share memory where their borders lie alike and the earlier one has been read for the last time.
  void AssignSlots() {
    const int nodes = static_cast<int>(network_.nodes.size());
    std::vector<int> last(shapes_.size(), -1);
    for (int i = 0; i < nodes; ++i) {
      for (const int input : network_.nodes[static_cast<size_t>(i)].inputs) last[static_cast<size_t>(input)] = i;
    }
    last[static_cast<size_t>(network_.output)] = nodes;
    for (int i = nodes - 1; i >= 0; --i) {  // an alias lives on in what it aliases
      const NetworkNode& node = network_.nodes[static_cast<size_t>(i)];
      if (IsAlias(node, static_cast<size_t>(i))) {
        int& source = last[static_cast<size_t>(node.inputs[0])];
        source = std::max(source, last[static_cast<size_t>(i) + 1]);
      }
    }
    struct Slot {
      Layout layout;
      int busy_until;
    };
    std::vector<Slot> taken;
    slots_.resize(shapes_.size());
    for (int value = 0; value < static_cast<int>(shapes_.size()); ++value) {
      const int made = value - 1;
      if (made >= 0 && IsAlias(network_.nodes[static_cast<size_t>(made)], static_cast<size_t>(made))) {
        slots_[static_cast<size_t>(value)] = slots_[static_cast<size_t>(network_.nodes[static_cast<size_t>(made)].inputs[0])];
        continue;
      }
      const Layout& layout = layouts_[static_cast<size_t>(value)];
      const auto fits = [&](const Slot& slot) { return slot.busy_until < made && slot.layout.SharesBorders(layout); };
      auto found = std::find_if(taken.begin(), taken.end(), fits);
      if (found == taken.end()) {
        found = taken.insert(taken.end(), Slot{layout, 0});
        slot_sizes_.push_back(0);
      }
      found->busy_until = std::max(last[static_cast<size_t>(value)], made);
      const size_t slot = static_cast<size_t>(found - taken.begin());
      slots_[static_cast<size_t>(value)] = static_cast<int>(slot);
      slot_sizes_[slot] = std::max(slot_sizes_[slot], RoundUp(layout.elements()));
    }
  }

  const Network& network_;
  std::vector<ImageShape> shapes_;
  std::vector<Layout> layouts_;
  std::vector<ConvChoice> choices_;
  std::vector<int> slots_;
  std::vector<int64_t> slot_sizes_;
};

// The step of a convolution; `weights` are packed as `choice` wants them.
std::unique_ptr<Step> MakeConv(const NetworkNode& node, const ConvChoice& choice, const ChannelGroups& channels, std::shared_ptr<const PackedWeights> weights,
                               Value input, std::optional<Value> residual, Value output, const KernelTable& kernels, int threads) {
  if (input.layout.form == Layout::Form::kVectors && output.layout.form == Layout::Form::kVectors) {
    input.layout = input.layout.AsPixels();
    output.layout = output.layout.AsPixels();
    if (residual) residual->layout = residual->layout.AsPixels();
  }
  ConvSetting setting{.input = input, .residual = residual, .weights = std::move(weights), .channels = channels, .kernel_h = node.kernel_h,
                      .kernel_w = node.kernel_w, .stride_h = node.stride_h, .stride_w = node.stride_w, .dilation_h = node.dilation_h,
                      .dilation_w = node.dilation_w, .pad_top = node.pad_top, .pad_left = node.pad_left,
                      .epilogue = Epilogue(node.activation, kernels.blocked), .kernels = &kernels.blocked};
  switch (choice.method) {
    case ConvMethod::kDepthwise: return MakeDepthwiseConv(std::move(setting), output);
    case ConvMethod::kWinograd2: return MakeWinogradConv(std::move(setting), 2, choice.tile, threads, output);
    case ConvMethod::kWinograd4: return MakeWinogradConv(std::move(setting), 4, choice.tile, threads, output);
    case ConvMethod::kDirect: break;
  }
  return MakeDirectConv(std::move(setting), choice.tile, output);
}

std::unique_ptr<Step> MakeOther(const NetworkNode& node, const Arrangement& arrangement, Value output, const KernelTable& kernels) {
  const Value input = arrangement.value(node.inputs[0]);
  const WindowSetting window{node.kernel_h, node.kernel_w, node.stride_h, node.stride_w, node.pad_top, node.pad_left, node.pad_bottom, node.pad_right,
                             node.count_include_pad};
  switch (node.kind) {
    case NodeKind::kMaxPool: return MakeMaxPool(input, window, output);
    case NodeKind::kAveragePool: return MakeAveragePool(input, window, output);
    case NodeKind::kGlobalAveragePool: return MakeGlobalAveragePool(input, output);
    case NodeKind::kActivation: return MakeActivation(input, *node.activation, kernels, output);
    case NodeKind::kAdd: return MakeAdd(input, arrangement.value(node.inputs[1]), node.activation, kernels, output);
    case NodeKind::kGate: return MakeGate(input, arrangement.value(node.inputs[1]), output);
    case NodeKind::kSoftmax: return MakeSoftmax(input, output);
    case NodeKind::kFlatten: return MakeFlatten(input, output);
    case NodeKind::kFrame: {
      const float* fill = node.bias.as<float>();
      const size_t channels = node.bias.bytes() / sizeof(float);
      return MakeFrame(input, node.pad_top, node.pad_left, std::vector<float>(fill, fill + channels), output);
    }
    case NodeKind::kConv:
    case NodeKind::kLinear: break;
  }
  return nullptr;
}

double MacsOf(const NetworkNode& node, const ImageShape& input, const ImageShape& output) {
  if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) return 0;
  return static_cast<double>(output.batch * output.channels * output.height * output.width) *
         static_cast<double>(input.channels / node.groups * node.kernel_h * node.kernel_w);
}

}  // namespace

Status Plan::Compile(const Network& network, const EngineOptions& options, WeightStore& store, const ImageShape& input, int threads,
                     std::shared_ptr<Plan>* out) {
  std::vector<ImageShape> shapes;
  const Status inferred = InferShapes(network, input, &shapes);
  if (!inferred.ok()) return inferred;
  const KernelTable& kernels = Kernels();
  const Arrangement arrangement(network, options, kernels, threads, shapes);
  auto plan = std::make_shared<Plan>();
  plan->input_ = input;
  plan->slot_sizes_ = arrangement.slot_sizes();

  std::vector<std::shared_ptr<const PackedWeights>> weights(network.nodes.size());
  std::atomic<bool> failed{false};
  ParallelFor(static_cast<int64_t>(network.nodes.size()), threads, [&](int64_t index, int) {
    const size_t i = static_cast<size_t>(index);
    const NetworkNode& node = network.nodes[i];
    if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) return;
    const Value from = arrangement.value(node.inputs[0]);
    const ConvChoice& choice = arrangement.choice(i);
    const WeightForm form{choice.method, from.layout.form == Layout::Form::kPlanar, choice.tile.blocks};
    weights[i] = store.Get(i, form, GroupsOf(node, from.layout.shape));
    if (weights[i] == nullptr) failed = true;
  });
  if (Cancelled()) return {Code::kCancelled, "cancelled"};
  if (failed) return {Code::kOutOfMemory, "packed weights"};

  const auto add = [&](std::unique_ptr<Step> step, StepReport report) {
    auto entry = std::make_unique<Entry>();
    report.kernel = step->kernel();
    entry->report = std::move(report);
    plan->workspace_ = std::max(plan->workspace_, RoundUp(step->workspace()));
    entry->step = std::move(step);
    plan->entries_.push_back(std::move(entry));
  };
  add(MakeIngest(arrangement.value(0)), {.name = "input", .kernel = {}, .output = input, .macs = 0, .bytes = 0, .estimate = 0, .seconds = 0});
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const NetworkNode& node = network.nodes[i];
    if (arrangement.IsAlias(node, i)) continue;
    const Value from = arrangement.value(node.inputs[0]), to = arrangement.value(static_cast<int>(i) + 1);
    StepReport report{.name = node.name, .kernel = {}, .output = shapes[i + 1], .macs = MacsOf(node, from.layout.shape, shapes[i + 1]),
                      .bytes = weights[i] == nullptr ? 0.0 : static_cast<double>(weights[i]->bytes()), .estimate = 0, .seconds = 0};
    if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) {
      add(MakeOther(node, arrangement, to, kernels), std::move(report));
      continue;
    }
    const ConvChoice& choice = arrangement.choice(i);
    report.estimate = choice.estimate;
    const auto residual = node.inputs.size() > 1 ? std::optional(arrangement.value(node.inputs[1])) : std::nullopt;
    add(MakeConv(node, choice, GroupsOf(node, from.layout.shape), weights[i], from, residual, to, kernels, threads), std::move(report));
  }
  add(MakeDeliver(arrangement.value(network.output)),
      {.name = "output", .kernel = {}, .output = shapes[static_cast<size_t>(network.output)], .macs = 0, .bytes = 0, .estimate = 0, .seconds = 0});
  *out = std::move(plan);
  return Ok();
}

std::unique_ptr<Context> Plan::Take(int threads) {
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
  int64_t elements = workspace_ * threads_;
  for (const int64_t size : slot_sizes_) elements += size;
  auto context = std::make_unique<Context>();
  if (!context->memory.Allocate(static_cast<size_t>(elements) * sizeof(float))) {
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

void Plan::Give(std::unique_ptr<Context> context) {
  std::lock_guard lock(mutex_);
  free_.push_back(std::move(context));
}

Status Plan::Run(const float* x, float* y, int threads) {
  std::unique_ptr<Context> context = Take(threads);
  if (context == nullptr) return {Code::kOutOfMemory, "activations"};
  const RunState run{.slots = context->slots.data(), .input = x, .output = y, .workspace = context->workspace, .workspace_size = workspace_, .threads = threads};
  {
    const FlushDenormals flush;
    auto before = std::chrono::steady_clock::now();
    for (const auto& entry : entries_) {
      entry->step->Run(run);
      if (Cancelled()) break;
      const auto now = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(now - before).count(), known = entry->seconds.load(std::memory_order_relaxed);
      if (known == 0 || seconds < known) entry->seconds.store(seconds, std::memory_order_relaxed);
      before = now;
    }
  }
  Give(std::move(context));
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
