// The pass over the rows of a fused kernel, in parallel over output channels.
#include "repfuse/fuse.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/parallel.h"
#include "row.h"
#include "values.h"

namespace repfuse {
namespace {

constexpr int64_t kMaxScratch =
    int64_t{1} << 30;                // bytes of all threads: what lies between kernels of a chain may be much larger than they are
constexpr int64_t kShare = 1 << 17;  // values of the rows that one index of the loop takes

// Calls body(row, slot of the thread) for every row.
template <typename Body>
void ForRows(const FuseTask& task, const fuse::RowFuser& fuser, int threads, const Body& body) {
  const int64_t rows = std::max<int64_t>(1, kShare / fuse::RowSize(task));
  ParallelFor((task.out_channels + rows - 1) / rows, threads, [&](int64_t share, int slot) {
    const fuse::Span span{share * rows, std::min((share + 1) * rows, task.out_channels)};
    fuser.ReadAhead(span);
    for (int64_t row = span.begin; row < span.end; ++row) body(row, slot);
  });
}

}  // namespace

Status Fuse(const FuseTask& task, int threads, FuseStats* stats) {
  bool in_place;
  const Status checked = CheckFuseTask(task, &in_place);
  if (!checked.ok()) return checked;
  threads = std::clamp(threads, 1, kMaxThreads);
  bool may_overflow = false;
  if (task.check == FuseCheck::kBefore) {
    const Status values = fuse::CheckValues(task, threads, &may_overflow);
    if (!values.ok()) return values;
  }

  const fuse::RowFuser fuser(task);
  int64_t scratch_size, bytes;
  AlignedBuffer scratch;
  if (!fuser.ScratchSize(&scratch_size) || !CheckedProduct({scratch_size, threads, 8}, &bytes) || bytes > kMaxScratch) {
    return {Code::kTooLarge, "scratch of the fuse pass"};
  }
  if (!scratch.Allocate(static_cast<size_t>(bytes))) {
    return {Code::kOutOfMemory, "scratch of the fuse pass"};
  }
  if (stats != nullptr) *stats = {scratch_size * 8, in_place};

  // Evaluates every row into weight_at(row, first index in the row, slot); false if a value leaves float32.
  std::atomic<bool> finite{true};
  const auto evaluate = [&](float* bias, const auto& weight_at) {
    ForRows(task, fuser, threads, [&](int64_t row, int slot) {
      if (!finite) return;
      const float b = fuse::Rounded(task, fuser.Bias(row));  // before its row of weights, which may overwrite what it reads
      if (bias != nullptr) bias[row] = b;
      bool row_finite = std::isfinite(b);
      fuser.Weights(row, scratch.as<double>() + slot * scratch_size,
                    [&](int64_t begin, const auto& finish) { row_finite &= finish(weight_at(row, begin, slot)); });
      if (!row_finite) finite = false;
    });
    return finite.load();
  };
  const Status overflow{Code::kNotFinite, "a fused value exceeds the range of float32"};

  if (may_overflow) {  // the bound is a coarse one: see what really happens, without writing
    const int64_t tile_size = fuser.TileSize();
    std::vector<float> rehearsal(static_cast<size_t>(tile_size * threads));
    if (!evaluate(nullptr, [&](int64_t, int64_t, int slot) { return rehearsal.data() + slot * tile_size; })) return overflow;
  }
  if (evaluate(task.bias, [&](int64_t row, int64_t begin, int) { return task.weight + row * fuse::RowSize(task) + begin; })) return Ok();
  if (in_place) return {Code::kNotFinite, "a fused value is NaN or infinite"};
  const Status culprit = fuse::CheckValues(task, threads, &may_overflow);
  return culprit.ok() ? overflow : culprit;
}

}  // namespace repfuse
