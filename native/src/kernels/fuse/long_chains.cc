#include "long_chains.h"

#include <algorithm>

#include "repfuse/checked.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kMaxRows = 64;  // channels of a map in between that one call of the products kernel takes
constexpr int64_t kTaps = kFuseTaps, kColumns = kFuseColumns;

}  // namespace

// Where coefficients of a map are summed: [channel][y][x] from channel `begin` on; tap (0, 0) lands on (origin_h, origin_w).
struct LongChains::Grid {
  double* values;
  int64_t begin, height, width, origin_h, origin_w;
};

// Coefficients on the channels of a map, over a window of height x width taps: either a row of a kernel, or values of a grid.
struct LongChains::Coefficients {
  const FuseFactor* factor = nullptr;
  int64_t row = 0;
  const double* values = nullptr;
  Span channels;
  int64_t height = 1, width = 1, step_h = 1, step_w = 1;

  // Offsets in a plane of the grid where the at most kTaps taps from `tap` on land; returns their number.
  int64_t Place(int64_t tap, const Grid& to, int64_t* offsets) const {
    const int64_t taps = std::min(kTaps, height * width - tap);
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t y = (tap + t) / width, x = (tap + t) % width;
      offsets[t] = (to.origin_h + y * step_h) * to.width + to.origin_w + x * step_w;
    }
    return taps;
  }

  // Coefficients of `count` channels and taps [tap, tap + taps) to out[m][t].
  void Load(int64_t channel, int64_t count, int64_t tap, int64_t taps, const double* scale, double* out) const {
    const int64_t all = height * width, first = (channel - channels.begin) * all + tap;
    const auto load = [&](auto read, double row_scale) {
      for (int64_t m = 0; m < count; ++m) {
        for (int64_t t = 0; t < taps; ++t) {
          const double c = row_scale * read(first + m * all + t);
          out[m * kTaps + t] = scale == nullptr ? c : c * scale[m];
        }
      }
    };
    if (factor == nullptr) {
      load([this](int64_t i) { return values[i]; }, 1.0);
    } else {
      const int64_t base = row * RowSize(*factor);
      WithReader(*factor, [&](auto read) { load([&](int64_t i) { return read(base + i); }, ScaleAt(*factor, row)); });
    }
  }
};

LongChains::LongChains(const FuseTask& task, const KernelTable& kernels) : task_(task), kernels_(kernels) {
  for (const FuseChain& chain : task.chains) {
    any_ |= chain.factors.size() > 1;
    if (chain.factors.size() > 2) MeasureMiddle(chain);
  }
}

// Room for the coefficients on the maps behind the factors of a chain.
void LongChains::MeasureMiddle(const FuseChain& chain) {
  const FuseFactor& first = task_.factors[chain.factors[0]];
  for (int64_t row = first.out_begin; row < first.out_begin + first.out_channels; ++row) {
    Span span{row, row + 1};
    for (size_t k = 0; k + 1 < chain.factors.size(); ++k) {
      span = Reach(task_.factors[chain.factors[k]], span);
      int64_t size = 0;  // their window is at most that of the fused kernel
      representable_ &= CheckedProduct({span.end - span.begin, task_.kernel_h, task_.kernel_w}, &size) && size < INT64_MAX / 4;
      middle_ = std::max(middle_, size);
    }
  }
}

bool LongChains::ScratchSize(int64_t* doubles) const {
  *doubles = any_ ? RowSize(task_) + 2 * middle_ : 0;
  return representable_;
}

void LongChains::Sum(int64_t row, double* scratch) const {
  std::fill_n(scratch, RowSize(task_), 0.0);
  for (const FuseChain& chain : task_.chains) {
    const size_t count = chain.factors.size();
    const FuseFactor& first = task_.factors[chain.factors[0]];
    if (count < 2 || row < first.out_begin || row >= first.out_begin + first.out_channels) continue;
    Coefficients from{&first,         row - first.out_begin, nullptr,      Reach(first, {row, row + 1}),
                      first.kernel_h, first.kernel_w,        first.step_h, first.step_w};
    for (size_t k = 1; k < count; ++k) {
      const FuseFactor& f = task_.factors[chain.factors[k]];
      Grid to{scratch, RowChannels(task_, row).begin, task_.kernel_h, task_.kernel_w, chain.origin_h, chain.origin_w};
      const bool last = k + 1 == count;
      const Span reach = Reach(f, from.channels);
      if (!last) {
        double* middle = scratch + RowSize(task_) + (k % 2) * middle_;
        to = {middle,
              reach.begin,
              (from.height - 1) * from.step_h + (f.kernel_h - 1) * f.step_h + 1,
              (from.width - 1) * from.step_w + (f.kernel_w - 1) * f.step_w + 1,
              0,
              0};
        std::fill_n(middle, (reach.end - reach.begin) * to.height * to.width, 0.0);
      }
      if (f.type == FuseType::kConstant) PushConstant(f, from, to);
      else Push(f, from, to);
      from = {nullptr, 0, to.values, reach, to.height, to.width, 1, 1};
    }
  }
}

// Adds what the factor makes of coefficients on its output side to the coefficients on its input side.
void LongChains::Push(const FuseFactor& f, const Coefficients& from, const Grid& to) const {
  double c[kMaxRows * kTaps], products[kTaps * kColumns];
  int64_t place[kTaps], offset[kColumns];
  const int64_t per_group = f.out_channels / f.groups, row_size = RowSize(f), plane = to.height * to.width;
  const int64_t last = std::min(from.channels.end, f.out_begin + f.out_channels) - f.out_begin;
  int64_t rows = 0;
  for (int64_t o = std::max(from.channels.begin, f.out_begin) - f.out_begin; o < last; o += rows) {
    rows = std::min({kMaxRows, last - o, per_group - o % per_group});  // channels of one group read the same inputs
    double* target = to.values + (f.in_begin + o / per_group * f.in_per_group - to.begin) * plane;
    for (int64_t tap = 0; tap < from.height * from.width; tap += kTaps) {
      const int64_t taps = from.Place(tap, to, place);
      from.Load(f.out_begin + o, rows, tap, taps, f.scale == nullptr ? nullptr : f.scale + o, c);
      int64_t i = 0, u = 0, v = 0;  // channel and tap of the column
      for (int64_t column = 0; column < row_size; column += kColumns) {
        const int64_t columns = std::min(kColumns, row_size - column);
        Products(f, c, rows, taps, o * row_size + column, columns, products);
        for (int64_t j = 0; j < columns; ++j) {
          offset[j] = i * plane + u * f.step_h * to.width + v * f.step_w;
          if (++v == f.kernel_w) v = 0, ++u;
          if (u == f.kernel_h) u = 0, ++i;
        }
        for (int64_t t = 0; t < taps; ++t) {
          for (int64_t j = 0; j < columns; ++j) target[place[t] + offset[j]] += products[t * kColumns + j];
        }
      }
    }
  }
}

void LongChains::Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns,
                          double* out) const {
  if (f.type == FuseType::kF32) {
    return kernels_.fuse_products(c, static_cast<size_t>(rows), static_cast<size_t>(taps), static_cast<const float*>(f.data) + index,
                                  static_cast<size_t>(RowSize(f)), static_cast<size_t>(columns), out);
  }
  WithReader(f, [&](auto read) {
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t j = 0; j < columns; ++j) {
        double sum = 0;
        for (int64_t m = 0; m < rows; ++m) sum += c[m * kTaps + t] * read(index + m * RowSize(f) + j);
        out[t * kColumns + j] = sum;
      }
    }
  });
}

void LongChains::PushConstant(const FuseFactor& f, const Coefficients& from, const Grid& to) {
  double c[kTaps];
  int64_t place[kTaps];
  const int64_t per_group = f.out_channels / f.groups, plane = to.height * to.width;
  const int64_t last = std::min(from.channels.end, f.out_begin + f.out_channels) - f.out_begin;
  for (int64_t o = std::max(from.channels.begin, f.out_begin) - f.out_begin; o < last; ++o) {
    double* target = to.values + (f.in_begin + o / per_group - to.begin) * plane;
    for (int64_t tap = 0; tap < from.height * from.width; tap += kTaps) {
      const int64_t taps = from.Place(tap, to, place);
      from.Load(f.out_begin + o, 1, tap, taps, f.scale == nullptr ? nullptr : f.scale + o, c);
      for (int64_t t = 0; t < taps; ++t) {
        for (int64_t u = 0; u < f.kernel_h; ++u) {
          for (int64_t v = 0; v < f.kernel_w; ++v) target[place[t] + u * f.step_h * to.width + v * f.step_w] += c[t] * f.value;
        }
      }
    }
  }
}

}  // namespace repfuse::fuse
