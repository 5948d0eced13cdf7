#include "repfuse/narrow.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "half.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kShare = 1 << 16;  // values that one index of the loop takes

float Single(float value) { return value; }
float Single(double value) { return RoundToOdd(value); }

template <HalfType type>
uint16_t Round(float value) {
  return type == HalfType::kF16 ? FloatToF16(value) : FloatToBf16(value);
}

template <HalfType type, typename T>
NarrowStats Share(const T* x, uint16_t* y, int64_t begin, int64_t end) {
  constexpr uint16_t kInfinity = type == HalfType::kF16 ? 0x7c00 : 0x7f80;
  NarrowStats stats;
  for (int64_t i = begin; i < end; ++i) {
    y[i] = Round<type>(Single(x[i]));
    const uint16_t magnitude = y[i] & 0x7fff;
    if (magnitude == kInfinity && std::isfinite(x[i]) && stats.overflow < 0) stats.overflow = i;
    stats.flushed += magnitude == 0 && x[i] != 0;
  }
  return stats;
}

template <HalfType type, typename T>
NarrowStats All(std::span<const T> x, uint16_t* y, int threads) {
  const auto count = static_cast<int64_t>(x.size());
  const int64_t shares = (count + kShare - 1) / kShare;
  std::vector<NarrowStats> parts(static_cast<size_t>(shares));
  ParallelFor(shares, threads, [&](int64_t share, int) {
    parts[static_cast<size_t>(share)] = Share<type>(x.data(), y, share * kShare, std::min((share + 1) * kShare, count));
  });
  NarrowStats all;
  for (const NarrowStats& part : parts) {
    if (all.overflow < 0) all.overflow = part.overflow;
    all.flushed += part.flushed;
  }
  return all;
}

}  // namespace

NarrowStats Narrow(HalfType type, std::span<const float> x, uint16_t* y, int threads) {
  return type == HalfType::kF16 ? All<HalfType::kF16>(x, y, threads) : All<HalfType::kBf16>(x, y, threads);
}

NarrowStats Narrow(HalfType type, std::span<const double> x, uint16_t* y, int threads) {
  return type == HalfType::kF16 ? All<HalfType::kF16>(x, y, threads) : All<HalfType::kBf16>(x, y, threads);
}

}  // namespace repfuse
