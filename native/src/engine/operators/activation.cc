// The table of functions of one number, and the operator that applies one.
#include "activation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "operator.h"

namespace repfuse {

namespace {

// The one loop over a row.
template <float (*kOf)(float x, float alpha, float beta)>
void Row(const float* x, float* y, size_t n, float alpha, float beta) {
  for (size_t i = 0; i < n; ++i) y[i] = kOf(x[i], alpha, beta);
}

float Ceil(float x, float, float) { return std::ceil(x); }
float Floor(float x, float, float) { return std::floor(x); }
float RoundToEven(float x, float, float) { return std::nearbyint(x); }
float Trunc(float x, float, float) { return std::trunc(x); }
float Sign(float x, float, float) { return x > 0 ? 1 : x < 0 ? -1 : x; }
float Not(float x, float, float) { return x == 0 ? 1 : 0; }
float NotZero(float x, float, float) { return x != 0 ? 1 : 0; }
float IsNan(float x, float, float) { return std::isnan(x) ? 1 : 0; }
float IsInf(float x, float negative, float positive) { return std::isinf(x) && (x < 0 ? negative : positive) != 0 ? 1 : 0; }
// The nearest value of a half type, of two as near the even one: a float32 without its last bits.
float WithoutBits(float x, int count) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t half = (uint32_t{1} << (count - 1)) - 1, odd = bits >> count & 1;
  bits = (bits + half + odd) >> count << count;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}
float RoundToBf16(float x, float, float) { return std::isnan(x) ? x : WithoutBits(x, 16); }
float RoundToF16(float x, float, float) {
  constexpr float kSmallestNormal = 0x1p-14F, kInfinite = 65520, kUnits = 0x1p24F;
  const float size = std::abs(x);
  if (size < kSmallestNormal) return std::copysign(std::nearbyint(size * kUnits) / kUnits, x);
  if (size < kInfinite) return WithoutBits(x, 13);
  return std::isnan(x) ? x : std::copysign(std::numeric_limits<float>::infinity(), x);
}
// Of the C library, in float64.
template <double (*kOf)(double)>
float In64(float x, float, float) {
  return static_cast<float>(kOf(static_cast<double>(x)));
}

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
    {"clip", nullptr, nullptr, ClipBounds, [](const KernelTable& kernels) { return kernels.blocked.clip; }},
    {"leakyRelu", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.leaky_relu; }},
    {"hardSigmoid", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.hard_sigmoid; }},
    {"tanh", nullptr, [](const KernelTable& kernels) { return kernels.blocked.tanh; }},
    {"erf", nullptr, [](const KernelTable& kernels) { return kernels.blocked.erf; }},
    {"exp", nullptr, [](const KernelTable& kernels) { return kernels.blocked.exp; }},
    {"gelu", nullptr, [](const KernelTable& kernels) { return kernels.blocked.gelu; }},
    {"geluTanh", nullptr, [](const KernelTable& kernels) { return kernels.blocked.gelu_tanh; }},
    {"mish", nullptr, [](const KernelTable& kernels) { return kernels.blocked.mish; }},
    {"elu", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.elu; }},
    {"celu", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.celu; }},
    {"selu", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.selu; }},
    {"thresholdedRelu", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.thresholded_relu; }},
    {"shrink", nullptr, nullptr, nullptr, [](const KernelTable& kernels) { return kernels.blocked.shrink; }},
    {"softplus", nullptr, [](const KernelTable& kernels) { return kernels.blocked.softplus; }},
    {"softsign", nullptr, [](const KernelTable& kernels) { return kernels.blocked.softsign; }},
    {"abs", nullptr, [](const KernelTable& kernels) { return kernels.blocked.abs; }},
    {"neg", nullptr, [](const KernelTable& kernels) { return kernels.blocked.negative; }},
    {"reciprocal", nullptr, [](const KernelTable& kernels) { return kernels.blocked.reciprocal; }},
    {"sqrt", nullptr, [](const KernelTable& kernels) { return kernels.blocked.root; }},
    {"ceil", Row<Ceil>},
    {"floor", Row<Floor>},
    {"round", Row<RoundToEven>},
    {"trunc", Row<Trunc>},
    {"sign", Row<Sign>},
    {"roundF16", Row<RoundToF16>},
    {"roundBf16", Row<RoundToBf16>},
    {"not", Row<Not>},
    {"notZero", Row<NotZero>},
    {"isNan", Row<IsNan>},
    {"isInf", Row<IsInf>},
    {"log", Row<In64<std::log>>},
    {"sin", Row<In64<std::sin>>},
    {"cos", Row<In64<std::cos>>},
    {"tan", Row<In64<std::tan>>},
    {"asin", Row<In64<std::asin>>},
    {"acos", Row<In64<std::acos>>},
    {"atan", Row<In64<std::atan>>},
    {"sinh", Row<In64<std::sinh>>},
    {"cosh", Row<In64<std::cosh>>},
    {"asinh", Row<In64<std::asinh>>},
    {"acosh", Row<In64<std::acosh>>},
    {"atanh", Row<In64<std::atanh>>},
};

Status Result(const NetworkNode& node, std::span<const Shape>, ValueType, Shape*) {
  return node.activation != nullptr && node.follows.empty() ? Ok() : Fails("the activation");
}

std::unique_ptr<Step> ActivationStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const AppliedActivation activation(*parts.node.activation, parts.node.alpha, parts.node.beta, parts.kernels);
  return MakeStep(parts, "activation", [=](const RunState& run) {
    if (input.layout.IsDense() && output.layout.IsDense()) {
      // Rows may be of one element.
      return ForElements(output.layout.elements(), run.threads, [&](int64_t first, int64_t count) {
        activation(run.at(input) + first, run.at(output) + first, static_cast<size_t>(count));
      });
    }
    const size_t width = static_cast<size_t>(output.layout.shape.width * output.layout.lanes());
    ForRows(output.layout, run.threads, [&](int64_t n, int64_t plane, int64_t y) {
      float* row = run.at(output) + output.layout.at(n, plane, y, 0);
      activation(run.at(input) + input.layout.at(n, plane, y, 0), row, width);
      ClearPaddedChannels(output.layout, plane, row);
    });
  });
}

}  // namespace

const Activation* FindActivation(std::string_view name) {
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const Activation& a) { return a.name == name; });
  return found == std::end(kActivations) ? nullptr : found;
}

AppliedActivation::AppliedActivation(const Activation& activation, float alpha, float beta, const KernelTable& kernels)
    : kernel_(activation.kernel != nullptr ? activation.kernel(kernels) : nullptr),
      row_(activation.function != nullptr ? activation.function(kernels) : activation.row),
      alpha_(alpha),
      beta_(beta) {}

const Operator kActivation{"activation", {1, 1}, ValueTypes::kAsInputs, Result, ActivationStep, Trait::kTakesActivation};

}  // namespace repfuse
