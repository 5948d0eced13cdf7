// The table of functions of one number, and the operator that applies one.
#include "activation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "operator.h"

namespace repfuse {

namespace {

// The one loop over a row.
template <float (*kOf)(float x, float alpha, float beta)>
void Row(const float* x, float* y, size_t n, float alpha, float beta) {
  for (size_t i = 0; i < n; ++i) y[i] = kOf(x[i], alpha, beta);
}

// The upper bound wins where they cross; NaN stays.
float Clip(float x, float low, float high) {
  const float least = x < low ? low : x;
  return least > high ? high : least;
}
float LeakyRelu(float x, float slope, float) { return x < 0 ? x * slope : x; }
// In float64: near the line's zero the two terms cancel.
float HardSigmoid(float x, float slope, float offset) {
  const double line = static_cast<double>(x) * slope + offset, least = line < 0 ? 0 : line;
  return static_cast<float>(least > 1 ? 1 : least);
}
float Erf(float x, float, float) { return static_cast<float>(std::erf(static_cast<double>(x))); }
float Tanh(float x, float, float) { return static_cast<float>(std::tanh(static_cast<double>(x))); }

bool ReluBounds(float, float, float* low, float*) {
  *low = 0;
  return true;
}
bool ClipBounds(float alpha, float beta, float* low, float* high) {
  if (!(alpha <= beta)) return false;
  *low = alpha;
  *high = beta;
  return true;
}

// A new function is a row: its name and Row<what it makes of a number>.
constexpr Activation kActivations[] = {
    {"relu", nullptr, [](const KernelTable& kernels) { return kernels.relu; }, ReluBounds},
    {"sigmoid", nullptr, [](const KernelTable& kernels) { return kernels.blocked.sigmoid; }},
    {"silu", nullptr, [](const KernelTable& kernels) { return kernels.blocked.silu; }},
    {"hardswish", nullptr, [](const KernelTable& kernels) { return kernels.blocked.hardswish; }},
    {"clip", Row<Clip>, nullptr, ClipBounds},
    {"leakyRelu", Row<LeakyRelu>},
    {"hardSigmoid", Row<HardSigmoid>},
    {"erf", Row<Erf>},
    {"tanh", Row<Tanh>},
};

Status Result(const NetworkNode& node, std::span<const Shape>, ValueType, Shape*) {
  return node.activation != nullptr ? Ok() : Fails("the activation");
}

std::unique_ptr<Step> ActivationStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const AppliedActivation activation(parts.node, parts.kernels);
  return MakeStep(parts, "activation", [=](const RunState& run) {
    const size_t width = static_cast<size_t>(output.layout.shape.width * output.layout.lanes());
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      activation(run.at(input) + input.layout.at(n, plane, y, 0), run.at(output) + output.layout.at(n, plane, y, 0), width);
    });
  });
}

}  // namespace

const Activation* FindActivation(std::string_view name) {
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const Activation& a) { return a.name == name; });
  return found == std::end(kActivations) ? nullptr : found;
}

AppliedActivation::AppliedActivation(const NetworkNode& node, const KernelTable& kernels) : alpha_(node.alpha), beta_(node.beta) {
  if (node.activation == nullptr) return;
  row_ = node.activation->row;
  if (node.activation->kernel != nullptr) kernel_ = node.activation->kernel(kernels);
}

Epilogue::Epilogue(const NetworkNode& node, const KernelTable& kernels)
    : low(-std::numeric_limits<float>::infinity()), high(std::numeric_limits<float>::infinity()) {
  const Activation* activation = node.activation;
  const bool bounds = activation != nullptr && activation->bounds != nullptr && activation->bounds(node.alpha, node.beta, &low, &high);
  if (!bounds) after = AppliedActivation(node, kernels);
}

const Operator kActivation{"activation", {1, 1}, ValueTypes::kAsInputs, Result, ActivationStep, Trait::kTakesActivation};

}  // namespace repfuse
