#include "conv_step.h"

#include "convolutions.h"

namespace repfuse {
namespace {

// Of an axis: a stride leads nowhere where there is one window, nor a dilation where there is one tap. Their products with anything then
// fit.
int64_t StepOf(int64_t step, int64_t steps) { return steps == 1 ? 1 : step; }

ConvSetting SettingOf(const Network& network, size_t i, const MemoryPlan& memory_plan, const NodeWeights& weights,
                      const KernelTable& kernels) {
  const NetworkNode& node = network.nodes[i];
  const bool terms = MultipliesTerms(memory_plan.choice(i).method);
  const Value input = terms ? memory_plan.terms(node.inputs[0]) : memory_plan.value(node.inputs[0]);
  const ImageShape& output = memory_plan.value(network.value_of(i)).layout.shape;
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
          .packing = WeightPackingOf(network, i, memory_plan),
          .row_sums = memory_plan.row_sums(network.value_of(i)),
          .one_pixel = output.height * output.width == 1};
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

// What a product that the convolution after it computes reads.
Gated GatedBy(const Network& network, size_t i, const MemoryPlan& memory_plan) {
  const std::vector<int>& inputs = network.nodes[i].inputs;
  Gated gated{memory_plan.value(inputs[0]), memory_plan.value(inputs[1]), memory_plan.IsOneRow(i + 1)};
  const ImageShape& factors = gated.gates.layout.shape;
  if (factors.height * factors.width > 1) std::swap(gated.map, gated.gates);
  return gated;
}

}  // namespace

WeightPacking WeightPackingOf(const Network& network, size_t i, const MemoryPlan& memory_plan) {
  const ConvChoice& choice = memory_plan.choice(i);
  const bool planar = memory_plan.value(network.nodes[i].inputs[0]).layout.kind == Layout::Kind::kPlanar;
  return {choice.method, planar, choice.tile.blocks, choice.terms, choice.row_taps};
}

std::unique_ptr<Step> MakeConvStep(const Network& network, size_t i, const MemoryPlan& memory_plan, const NodeWeights& weights,
                                   const Target& target) {
  ConvSetting setting = SettingOf(network, i, memory_plan, weights, target.kernels);
  Value output = memory_plan.value(network.value_of(i));
  if (memory_plan.choice(i).method == ConvMethod::kFloat64) return MakeFloat64Conv(std::move(setting), output);
  if (i > 0 && memory_plan.IsInner(i - 1) && !network.nodes[i - 1].op->is_convolution()) {
    if (!StaysInside(setting, output.layout.shape)) return nullptr;
    return MakeGatedConv(GatedBy(network, i - 1, memory_plan), std::move(setting), memory_plan.choice(i).tile, target.threads, output);
  }
  if (i > 0 && memory_plan.IsInner(i - 1)) {
    const bool ends = memory_plan.choice(i).method == ConvMethod::kDepthwise;  // with the depthwise one
    if (ends || (i > 1 && memory_plan.IsInner(i - 2))) {
      const size_t middle = ends ? i : i - 1;
      MergedConvs convs{.expand = SettingOf(network, middle - 1, memory_plan, weights, target.kernels),
                        .depthwise = SettingOf(network, middle, memory_plan, weights, target.kernels),
                        .expand_tile = memory_plan.choice(middle - 1).tile,
                        .project = std::nullopt,
                        .project_tile = memory_plan.choice(i).tile};
      const ImageShape& between = memory_plan.value(network.value_of(middle)).layout.shape;
      if (!StaysInside(convs.depthwise, between)) return nullptr;
      if (!ends) convs.project = std::move(setting);
      return MakeMergedConv(convs, target.threads, output);
    }
    ConvSetting depthwise = SettingOf(network, i - 1, memory_plan, weights, target.kernels);
    if (!StaysInside(depthwise, setting.input.layout.shape) || !StaysInside(setting, output.layout.shape)) return nullptr;
    return MakeSeparableConv(depthwise, setting, memory_plan.choice(i).tile, target.threads, output);
  }
  const auto are_vectors = [](const Value& value) { return value.layout.kind == Layout::Kind::kVectors; };
  const auto take = [&](Layout (Layout::*as)() const) {
    setting.input.layout = (setting.input.layout.*as)();
    output.layout = (output.layout.*as)();
    if (setting.residual) setting.residual->layout = (setting.residual->layout.*as)();
  };
  if (are_vectors(setting.input) && are_vectors(output) && (!setting.residual || are_vectors(*setting.residual))) take(&Layout::AsPixels);
  if (memory_plan.IsOneRow(i)) take(&Layout::AsOneRow);
  if (!StaysInside(setting, output.layout.shape)) return nullptr;
  const ConvChoice& choice = memory_plan.choice(i);
  if (output.layout.kind == Layout::Kind::kPlanar)
    return MakeSpreadConv(setting, choice.tile, target.threads, {}, output.layout.shape, output);
  switch (choice.method) {
    case ConvMethod::kDepthwise: return MakeDepthwiseConv(setting, output);
    case ConvMethod::kWinograd2:
    case ConvMethod::kWinograd42:
    case ConvMethod::kWinograd4: return MakeWinogradConv(std::move(setting), choice.tile, target.threads, output);
    case ConvMethod::kFloat64:  // made above
    case ConvMethod::kDirect:
    case ConvMethod::kPairs:
    case ConvMethod::kTiles: break;
  }
  return MakeDenseConv(setting, choice.tile, target.threads, output);
}

std::unique_ptr<Step> MakeSpreadStep(const Network& network, size_t i, const MemoryPlan& memory_plan, const NodeWeights& weights,
                                     const Target& target) {
  const ConvSetting setting = SettingOf(network, i - 1, memory_plan, weights, target.kernels);
  const ImageShape& wide = memory_plan.value(network.value_of(i - 1)).layout.shape;
  if (!StaysInside(setting, wide)) return nullptr;
  return MakeSpreadConv(setting, memory_plan.choice(i - 1).tile, target.threads, SpreadOf(network.nodes[i]), wide,
                        memory_plan.value(network.value_of(i)));
}

StepReport ReportOfConv(const Network& network, size_t i, const std::vector<Shape>& shapes, const MemoryPlan& memory_plan,
                        const NodeWeights& weights) {
  const NetworkNode& node = network.nodes[i];
  const Shape &input = shapes[static_cast<size_t>(node.inputs[0])], &output = shapes[static_cast<size_t>(network.value_of(i))];
  StepReport report{.name = node.name, .kernel = {}, .epilogue = {}, .output = output, .macs = 0, .bytes = 0, .estimate = 0, .seconds = 0};
  const int64_t products = input[1] / node.groups * node.kernel_h * node.kernel_w;  // of one output
  report.macs = static_cast<double>(output.count()) * static_cast<double>(products);
  report.bytes = static_cast<double>(weights[i]->bytes());
  report.estimate = memory_plan.choice(i).estimate;
  report.epilogue = DescribeEpilogue(node);
  if (memory_plan.row_sums(network.value_of(i))) report.epilogue += report.epilogue.empty() ? "sums" : ", sums";
  report.error = memory_plan.choice(i).error;
  if (i == 0 || !memory_plan.IsInner(i - 1)) return report;
  if (!network.nodes[i - 1].op->is_convolution()) {
    report.name = network.nodes[i - 1].name + " + " + report.name;
    return report;
  }
  const StepReport inner = ReportOfConv(network, i - 1, shapes, memory_plan, weights);
  report.name = inner.name + " + " + report.name;
  if (!inner.epilogue.empty() || !report.epilogue.empty()) report.epilogue = inner.epilogue + " + " + report.epilogue;
  report.macs += inner.macs;
  report.bytes += inner.bytes;
  report.estimate += inner.estimate;
  report.error = std::max(report.error, inner.error);
  return report;
}

StepReport ReportOfSpread(const Network& network, size_t i, const std::vector<Shape>& shapes, const MemoryPlan& memory_plan,
                          const NodeWeights& weights) {
  StepReport report = ReportOfConv(network, i - 1, shapes, memory_plan, weights);
  if (report.name != network.nodes[i].name) report.name += " + " + network.nodes[i].name;
  report.output = shapes[static_cast<size_t>(network.value_of(i))];
  return report;
}

}  // namespace repfuse
