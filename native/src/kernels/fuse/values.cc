// The scan before the first write: a NaN, an infinity or a possible overflow is found while everything is still untouched.
#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <deque>
#include <vector>

#include "plan.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kShare = 1 << 16;  // elements of one index of the loop
constexpr uint32_t kInfinityBits = 0x7f800000u;

int64_t FactorSize(const FuseFactor& f) { return f.out_channels * f.in_per_group * f.kernel_h * f.kernel_w; }

struct Scan {
  const FuseFactor* factor;
  std::atomic<uint32_t> bits{0};   // of the largest |w|, float kernels
  std::atomic<double> largest{0};  // double kernels; infinity for NaN
  explicit Scan(const FuseFactor* f) : factor(f) {}
};

void RaiseTo(std::atomic<double>& target, double value) {
  double seen = target.load(std::memory_order_relaxed);
  while (seen < value && !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

void RaiseTo(std::atomic<uint32_t>& target, uint32_t value) {
  uint32_t seen = target.load(std::memory_order_relaxed);
  while (seen < value && !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

void ScanShare(Scan& scan, int64_t begin, int64_t size, FuseScanRow kernel) {
  if (!scan.factor->is_f64) {
    RaiseTo(scan.bits, kernel(static_cast<const float*>(scan.factor->data) + begin, static_cast<size_t>(size)));
    return;
  }
  const double* w = static_cast<const double*>(scan.factor->data) + begin;
  double largest = 0;
  for (int64_t i = 0; i < size; ++i) largest = std::isfinite(w[i]) ? std::max(largest, std::fabs(w[i])) : INFINITY;
  RaiseTo(scan.largest, largest);
}

double Largest(const Scan& scan) {
  if (scan.factor->data == nullptr) return std::fabs(scan.factor->value);
  if (scan.factor->is_f64) return scan.largest.load();
  const uint32_t bits = scan.bits.load();
  if (bits >= kInfinityBits) return INFINITY;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

double LargestOf(const double* values, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::isfinite(values[i]) ? std::max(largest, std::fabs(values[i])) : INFINITY;
  return largest;
}

// A factor can multiply the size of a value by at most this.
double Gain(const FuseFactor& f, double largest) {
  const double scale = f.scale == nullptr ? 1.0 : LargestOf(f.scale, f.out_channels);
  return largest * scale * static_cast<double>(f.in_per_group) * static_cast<double>(f.kernel_h * f.kernel_w);
}

}  // namespace

Status CheckValues(const FusePlan& plan, int threads, bool* may_overflow) {
  std::deque<Scan> scans;
  for (const FuseChain& chain : plan.chains) {
    for (const FuseFactor& f : chain.factors) scans.emplace_back(&f);
  }
  std::vector<std::pair<size_t, int64_t>> shares;  // (scan, first element)
  for (size_t i = 0; i < scans.size(); ++i) {
    if (scans[i].factor->data == nullptr) continue;
    for (int64_t begin = 0; begin < FactorSize(*scans[i].factor); begin += kShare) shares.emplace_back(i, begin);
  }
  const FuseScanRow kernel = Kernels().fuse_scan;
  ParallelFor(static_cast<int64_t>(shares.size()), threads, [&](int64_t i, int) {
    Scan& scan = scans[shares[i].first];
    ScanShare(scan, shares[i].second, std::min(kShare, FactorSize(*scan.factor) - shares[i].second), kernel);
  });

  double weight_bound = 0;
  size_t index = 0;
  for (const FuseChain& chain : plan.chains) {
    double bound = 1;
    for (const FuseFactor& f : chain.factors) {
      const double largest = Largest(scans[index]);
      if (!std::isfinite(largest)) return {Code::kNotFinite, "a weight is NaN or infinite", static_cast<long long>(index)};
      if (f.scale != nullptr && !std::isfinite(LargestOf(f.scale, f.out_channels))) {
        return {Code::kNotFinite, "a scale is NaN or infinite", static_cast<long long>(index)};
      }
      bound *= Gain(f, largest);
      ++index;
    }
    weight_bound += bound;
  }
  *may_overflow = !(weight_bound <= FLT_MAX);
  for (const FuseBias& bias : plan.biases) {
    if (!std::isfinite(LargestOf(bias.constant, bias.count))) return {Code::kNotFinite, "a bias is NaN or infinite"};
  }
  return Ok();
}

}  // namespace repfuse::fuse
