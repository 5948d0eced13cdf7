// The pass over the rows of a fused kernel, in parallel over output channels.
#include "repfuse/fuse.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/parallel.h"
#include "row.h"

namespace repfuse {
namespace {

constexpr int64_t kShare = 1 << 15;  // values of the rows that one index of the loop takes

// Calls body(row, scratch of the thread) for every row.
template <typename Body>
void ForRows(const FusePlan& plan, int threads, double* scratch, int64_t scratch_size, const Body& body) {
  const int64_t rows = std::max<int64_t>(1, kShare / fuse::RowSize(plan));
  ParallelFor((plan.out_channels + rows - 1) / rows, threads, [&](int64_t share, int slot) {
    for (int64_t row = share * rows; row < std::min((share + 1) * rows, plan.out_channels); ++row) body(row, scratch + slot * scratch_size);
  });
}

bool FitsF32(const double* values, int64_t count) {
  return std::all_of(values, values + count, [](double value) { return std::isfinite(static_cast<float>(value)); });
}

}  // namespace

Status Fuse(const FusePlan& plan, int threads, FuseStats* stats) {
  bool in_place;
  const Status checked = CheckPlan(plan, &in_place);
  if (!checked.ok()) return checked;
  bool may_overflow;
  const Status values = fuse::CheckValues(plan, threads, &may_overflow);
  if (!values.ok()) return values;

  threads = std::clamp(threads, 1, kMaxThreads);
  const fuse::RowFuser fuser(plan);
  int64_t scratch_size, bytes;
  AlignedBuffer scratch;
  if (!fuser.ScratchSize(&scratch_size) || !CheckedProduct({scratch_size, threads, 8}, &bytes) || !scratch.Allocate(static_cast<size_t>(bytes))) {
    return {Code::kOutOfMemory, "scratch of the fuse pass"};
  }
  if (stats != nullptr) *stats = {scratch_size * 8, in_place};

  if (may_overflow) {  // the bound is a coarse one: see what really happens, without writing
    std::atomic<bool> overflow{false};
    ForRows(plan, threads, scratch.as<double>(), scratch_size, [&](int64_t row, double* own) {
      const double bias = fuser.Bias(row);
      if (!FitsF32(&bias, 1)) overflow = true;
      fuser.Weights(row, own, [&](int64_t, const double* tile, int64_t count) {
        if (!FitsF32(tile, count)) overflow = true;
      });
    });
    if (overflow) return {Code::kNotFinite, "a fused value exceeds the range of float32"};
  }

  const FuseRoundRow round = Kernels().fuse_round;
  ForRows(plan, threads, scratch.as<double>(), scratch_size, [&](int64_t row, double* own) {
    plan.bias[row] = static_cast<float>(fuser.Bias(row));
    float* out = plan.weight + row * fuse::RowSize(plan);
    fuser.Weights(row, own, [&](int64_t begin, const double* tile, int64_t count) { round(tile, out + begin, static_cast<size_t>(count)); });
  });
  return Ok();
}

}  // namespace repfuse
