// A row of a chain K0 K1 ... Kn is the unit functional on one output channel, pulled back through the factors: the coefficients
// over the channels and window of the map behind K0 are K0's row itself; each further factor turns coefficients into those of
// the map behind it, and the last one adds coefficient times weight to the row. Chains of one factor (a convolution with its
// BatchNorm) are most of the work in practice and skip all that: scale and add, tile by tile, in L1.
#include "row.h"

#include <algorithm>

#include "repfuse/checked.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kTileValues = 2048;  // 16 KiB of float64: a third of L1
constexpr int64_t kRows = 64;          // channels of a map in between that one call of the products kernel takes
constexpr int64_t kTaps = kFuseTaps, kColumns = kFuseColumns;

double ScaleAt(const FuseFactor& f, int64_t o) { return f.scale == nullptr ? 1.0 : f.scale[o]; }

// acc[i * stride] += scale * w[i * pitch].
void AccumulateStrided(double* acc, int64_t stride, const float* w, int64_t pitch, double scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i * stride] += scale * static_cast<double>(w[i * pitch]);
}

}  // namespace

// Where coefficients of a map are summed: [channel][y][x] from channel `begin` on; tap (0, 0) lands on (origin_h, origin_w).
struct RowFuser::Grid {
  double* values;
  int64_t begin, height, width, origin_h, origin_w;
};

// Coefficients on the channels of a map, over a window of height x width taps: either a row of a kernel, or values of a grid.
struct RowFuser::Coefficients {
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

RowFuser::RowFuser(const FusePlan& plan) : plan_(plan), kernels_(Kernels()) {
  const int64_t taps = plan.kernel_h * plan.kernel_w;
  tile_channels_ = std::clamp<int64_t>(kTileValues / taps, 1, plan.in_per_group);
  for (const FuseChain& chain : plan.chains) {
    if (chain.factors.size() < 2) continue;
    long_chains_ = true;
    if (chain.factors.size() > 2) MeasureMiddle(chain);
  }
  for (const FuseBias& bias : plan.biases) {
    Term term{nullptr, {bias.begin, bias.begin + bias.count}, {bias.constant, bias.constant + bias.count}};
    for (size_t k = bias.factors.size(); k-- > 0;) {
      const FuseFactor& f = plan.factors[bias.factors[k]];
      term.factor = &f;
      if (k == 0) break;  // its rows are read with those of the weight, which may be about to be overwritten
      const Term behind = std::move(term);
      term = {nullptr, {f.out_begin, f.out_begin + f.out_channels}, std::vector<double>(static_cast<size_t>(f.out_channels))};
      for (int64_t o = 0; o < f.out_channels; ++o) term.values[static_cast<size_t>(o)] = TermRow(behind, o);
    }
    terms_.push_back(std::move(term));
  }
}

// Room for the coefficients on the maps behind the factors of a chain.
void RowFuser::MeasureMiddle(const FuseChain& chain) {
  const FuseFactor& first = plan_.factors[chain.factors[0]];
  for (int64_t row = first.out_begin; row < first.out_begin + first.out_channels; ++row) {
    Span span{row, row + 1};
    for (size_t k = 0; k + 1 < chain.factors.size(); ++k) {
      span = Reach(plan_.factors[chain.factors[k]], span);
      int64_t size = 0;  // their window is at most that of the fused kernel
      representable_ &= CheckedProduct({span.end - span.begin, plan_.kernel_h, plan_.kernel_w}, &size) && size < INT64_MAX / 4;
      middle_ = std::max(middle_, size);
    }
  }
}

// What output channel `o` of the term's factor (counted within it) yields for the constants.
double RowFuser::TermRow(const Term& term, int64_t o) {
  const FuseFactor& f = *term.factor;
  const int64_t begin = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group;
  double sum = 0;
  WithReader(f, [&](auto read) {
    const int64_t first = std::max(begin, term.channels.begin), last = std::min(begin + f.in_per_group, term.channels.end);
    for (int64_t channel = first; channel < last; ++channel) {
      const double constant = term.values[static_cast<size_t>(channel - term.channels.begin)];
      const int64_t base = o * RowSize(f) + (channel - begin) * Taps(f);
      for (int64_t t = 0; t < Taps(f); ++t) sum += read(base + t) * constant;
    }
  });
  return ScaleAt(f, o) * sum;
}

double RowFuser::Bias(int64_t row) const {
  double sum = 0;
  for (const Term& term : terms_) {
    if (term.factor == nullptr) {
      if (row >= term.channels.begin && row < term.channels.end) sum += term.values[static_cast<size_t>(row - term.channels.begin)];
    } else if (row >= term.factor->out_begin && row < term.factor->out_begin + term.factor->out_channels) {
      sum += TermRow(term, row - term.factor->out_begin);
    }
  }
  return sum;
}

bool RowFuser::ScratchSize(int64_t* doubles) const {
  const int64_t row = long_chains_ ? RowSize(plan_) : tile_channels_ * plan_.kernel_h * plan_.kernel_w;
  *doubles = row + 2 * middle_;
  return representable_;
}

void RowFuser::LongChains(int64_t row, double* scratch) const {
  std::fill_n(scratch, RowSize(plan_), 0.0);
  for (const FuseChain& chain : plan_.chains) {
    const size_t count = chain.factors.size();
    const FuseFactor& first = plan_.factors[chain.factors[0]];
    if (count < 2 || row < first.out_begin || row >= first.out_begin + first.out_channels) continue;
    Coefficients from{&first, row - first.out_begin, nullptr, Reach(first, {row, row + 1}), first.kernel_h, first.kernel_w, first.step_h, first.step_w};
    for (size_t k = 1; k < count; ++k) {
      const FuseFactor& f = plan_.factors[chain.factors[k]];
      Grid to{scratch, RowChannels(plan_, row).begin, plan_.kernel_h, plan_.kernel_w, chain.origin_h, chain.origin_w};
      const bool last = k + 1 == count;
      const Span reach = Reach(f, from.channels);
      if (!last) {
        double* middle = scratch + RowSize(plan_) + (k % 2) * middle_;
        to = {middle, reach.begin, (from.height - 1) * from.step_h + (f.kernel_h - 1) * f.step_h + 1,
              (from.width - 1) * from.step_w + (f.kernel_w - 1) * f.step_w + 1, 0, 0};
        std::fill_n(middle, (reach.end - reach.begin) * to.height * to.width, 0.0);
      }
      if (f.type == FuseType::kConstant) PushConstant(f, from, to);
      else Push(f, from, to);
      from = {nullptr, 0, to.values, reach, to.height, to.width, 1, 1};
    }
  }
}

// Adds what the factor makes of coefficients on its output side to the coefficients on its input side.
void RowFuser::Push(const FuseFactor& f, const Coefficients& from, const Grid& to) const {
  double c[kRows * kTaps], products[kTaps * kColumns];
  int64_t place[kTaps], offset[kColumns];
  const int64_t per_group = f.out_channels / f.groups, row_size = RowSize(f), plane = to.height * to.width;
  const int64_t last = std::min(from.channels.end, f.out_begin + f.out_channels) - f.out_begin;
  int64_t rows = 0;
  for (int64_t o = std::max(from.channels.begin, f.out_begin) - f.out_begin; o < last; o += rows) {
    rows = std::min({kRows, last - o, per_group - o % per_group});  // channels of one group read the same inputs
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

void RowFuser::Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns, double* out) const {
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

void RowFuser::PushConstant(const FuseFactor& f, const Coefficients& from, const Grid& to) const {
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

// Adds the chains of one factor to the tile of input channels `channels` (counted within the row).
void RowFuser::ShortChains(int64_t row, Span channels, double* tile, bool clear) const {
  const int64_t all = plan_.kernel_h * plan_.kernel_w, size = (channels.end - channels.begin) * all;
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    if (chain.factors.size() > 1 || row < f.out_begin || row >= f.out_begin + f.out_channels) continue;
    const int64_t o = row - f.out_begin, taps = Taps(f);
    const double scale = ScaleAt(f, o);
    // The factor's own channels are shifted by `shift` against those of the row.
    const int64_t shift = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group - RowChannels(plan_, row).begin;
    const int64_t begin = std::max(channels.begin, shift), end = std::min(channels.end, shift + f.in_per_group);
    if (begin >= end) continue;
    const int64_t source = o * RowSize(f) + (begin - shift) * taps;
    const bool whole_taps = f.kernel_h == plan_.kernel_h && f.kernel_w == plan_.kernel_w;  // then origin is 0 and step 1
    if (f.type == FuseType::kF32 && whole_taps) {
      const float* w = static_cast<const float*>(f.data) + source;
      if (clear && begin == channels.begin && end == channels.end) {
        kernels_.fuse_scale(tile, w, scale, static_cast<size_t>(size));
        clear = false;
        continue;
      }
      if (clear) std::fill_n(tile, size, 0.0);
      clear = false;
      kernels_.fuse_accumulate(tile + (begin - channels.begin) * all, w, scale, static_cast<size_t>((end - begin) * all));
      continue;
    }
    if (clear) std::fill_n(tile, size, 0.0);
    clear = false;
    for (int64_t u = 0; u < f.kernel_h; ++u) {
      for (int64_t v = 0; v < f.kernel_w; ++v) {
        double* acc = tile + (begin - channels.begin) * all + (chain.origin_h + u * f.step_h) * plan_.kernel_w + chain.origin_w + v * f.step_w;
        const int64_t first = source + u * f.kernel_w + v;
        if (f.type == FuseType::kF32) {
          AccumulateStrided(acc, all, static_cast<const float*>(f.data) + first, taps, scale, end - begin);
        } else {
          WithReader(f, [&](auto read) {
            for (int64_t i = 0; i < end - begin; ++i) acc[i * all] += scale * read(first + i * taps);
          });
        }
      }
    }
  }
  if (clear) std::fill_n(tile, size, 0.0);
}

}  // namespace repfuse::fuse
