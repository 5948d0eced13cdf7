// The scan before the first write: a NaN, an infinity or a possible overflow is found while everything is still untouched.
#include "values.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <span>
#include <vector>

#include "factor.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kMinShare = 1 << 16, kMaxShare = 1 << 20;  // values of one index of the loop: long runs are read fastest

int64_t Size(const FuseFactor& f) { return f.out_channels * RowSize(f); }

double LargestOf(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) largest = std::isfinite(value) ? std::max(largest, std::fabs(value)) : INFINITY;
  return largest;
}

// Largest |value| of `count` values; infinity if one is not finite.
double LargestOf(const FuseFactor& f, int64_t begin, int64_t count, FuseScanRow scan) {
  if (f.type == FuseType::kF32) {
    const double largest = FloatFromBits(scan(static_cast<const float*>(f.data) + begin, static_cast<size_t>(count)));
    return std::isfinite(largest) ? largest : INFINITY;
  }
  double largest = 0;
  WithReader(f, [&](auto read) {
    for (int64_t i = begin; i < begin + count; ++i) largest = std::isfinite(read(i)) ? std::max(largest, std::fabs(read(i))) : INFINITY;
  });
  return largest;
}

void RaiseTo(std::atomic<double>& target, double value) {
  double seen = target.load(std::memory_order_relaxed);
  while (seen < value && !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {}
}

// The largest |value| of every factor's kernel; factors over the same array share one scan.
std::vector<double> ScanKernels(const FuseTask& task, int threads) {
  const size_t count = task.factors.size();
  std::vector<std::atomic<double>> largest(count);
  std::vector<size_t> same(count);
  struct Share {
    size_t factor;
    int64_t begin, count;
  };
  std::vector<Share> shares;
  for (size_t i = 0; i < count; ++i) {
    const FuseFactor& f = task.factors[i];
    same[i] = i;
    for (size_t j = 0; j < i && f.data != nullptr; ++j) {
      const FuseFactor& earlier = task.factors[j];
      if (earlier.data == f.data && earlier.type == f.type && Size(earlier) == Size(f)) same[i] = same[j];
    }
    if (same[i] == i && f.type != FuseType::kConstant) {
      const int64_t share = std::clamp(Size(f) / threads, kMinShare, kMaxShare);
      for (int64_t begin = 0; begin < Size(f); begin += share) shares.push_back({i, begin, std::min(share, Size(f) - begin)});
    }
  }
  const FuseScanRow scan = Kernels().fuse_scan;
  const int64_t last = static_cast<int64_t>(shares.size()) - 1;
  // Last share first: what the pass reads first is then what was read last, and still in cache.
  ParallelFor(last + 1, threads, [&](int64_t i, int) {
    const Share& share = shares[static_cast<size_t>(last - i)];
    const FuseFactor& f = task.factors[share.factor];
    RaiseTo(largest[share.factor], LargestOf(f, share.begin, share.count, scan));
  });
  std::vector<double> result(count);
  for (size_t i = 0; i < count; ++i) {
    result[i] = task.factors[i].type == FuseType::kConstant ? LargestOf({&task.factors[i].value, 1}) : largest[same[i]].load();
  }
  return result;
}

}  // namespace

Status CheckValues(const FuseTask& task, int threads, bool* may_overflow) {
  const std::vector<double> largest = ScanKernels(task, threads);
  std::vector<double> term(task.factors.size());  // bound of |scale * weight|
  for (size_t i = 0; i < task.factors.size(); ++i) {
    const FuseFactor& f = task.factors[i];
    const double scale = f.scale == nullptr ? 1.0 : LargestOf({f.scale, static_cast<size_t>(f.out_channels)});
    if (!std::isfinite(largest[i])) return {Code::kNotFinite, "a weight is NaN or infinite", static_cast<long long>(i)};
    if (!std::isfinite(scale)) return {Code::kNotFinite, "a scale is NaN or infinite", static_cast<long long>(i)};
    term[i] = largest[i] * scale;
  }
  // A weight is a sum of at most RowSize terms per factor but the last; a bias of RowSize terms per factor.
  double weight_bound = 0, bias_bound = 0;
  for (const FuseChain& chain : task.chains) {
    double bound = 1;
    for (size_t k = 0; k < chain.factors.size(); ++k) {
      const bool inner = k + 1 < chain.factors.size();
      bound *= term[chain.factors[k]] * (inner ? static_cast<double>(RowSize(task.factors[chain.factors[k]])) : 1.0);
    }
    weight_bound += bound;
  }
  for (const FuseBias& bias : task.biases) {
    double bound = LargestOf(bias.constants);
    if (!std::isfinite(bound)) return {Code::kNotFinite, "a bias is NaN or infinite"};
    for (size_t i : bias.factors) bound *= term[i] * static_cast<double>(RowSize(task.factors[i]));
    bias_bound += bound;
  }
  // Half the range leaves room for the rounding of the bounds themselves.
  *may_overflow = !(weight_bound <= FLT_MAX / 2 && bias_bound <= FLT_MAX / 2);
  return Ok();
}

}  // namespace repfuse::fuse
