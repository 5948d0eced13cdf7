// A row of a chain K0 K1 ... Kn is the unit functional on one output channel, pulled back through the factors: the coefficients
// over the channels and window of the map behind K0 are K0's row itself; each further factor turns coefficients into those of
// the map behind it, and the last one adds coefficient times weight to the row. Chains of one factor (a convolution with its
// BatchNorm) are most of the work in practice and skip all that: scale and add, tile by tile, in L1.
#include "row.h"

#include "rows.h"

#include <algorithm>
#include <cmath>

#include "repfuse/checked.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kTileValues = 2048;  // 16 KiB of float64: a third of L1
constexpr int64_t kRows = 64;          // channels of a map in between that one call of the products kernel takes
constexpr uint32_t kInfinity = 0x7f800000;
constexpr int64_t kTaps = kFuseTaps, kColumns = kFuseColumns;

double ScaleAt(const FuseFactor& f, int64_t o) { return f.scale == nullptr ? 1.0 : f.scale[o]; }

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

RowFuser::RowFuser(const FusePlan& plan) : plan_(plan), kernels_(Kernels()), finish_(kernels_.fuse_finish), patch_(kernels_.fuse_patch) {
  if (plan.rounding == FuseRounding::kToOdd) finish_ = FuseFinishToOdd, patch_ = FusePatchToOdd;
  for (const FuseChain& chain : plan.chains) {
    if (chain.factors.size() < 2) continue;
    long_chains_ = true;
    if (chain.factors.size() > 2) MeasureMiddle(chain);
  }
  ChooseSumGrid();
  int64_t channels = std::max<int64_t>(1, kTileValues / (sum_h_ * sum_w_));
  if (channels > 16) channels -= channels % 16;  // tiles begin at cache lines: stores that straddle two are slow
  tile_channels_ = std::min(channels, plan.in_per_group);
  for (const FuseBias& bias : plan.biases) terms_.push_back(CarryTerm(bias));
}

// Carries the constants of a bias to the input of its first factor, whose rows are read with those of the weight.
RowFuser::Term RowFuser::CarryTerm(const FuseBias& bias) const {
  Term term{nullptr, {bias.begin, bias.begin + bias.count}, {bias.constant, bias.constant + bias.count}};
  std::vector<Span> seen{{0, plan_.out_channels}};  // channels of each map that the next one towards the output looks at
  for (size_t i : bias.factors) seen.push_back(Reach(plan_.factors[i], seen.back()));
  for (size_t k = bias.factors.size(); k-- > 1;) {
    term.factor = &plan_.factors[bias.factors[k]];
    const int64_t first = std::max(seen[k].begin, term.factor->out_begin);
    const int64_t last = std::max(first, std::min(seen[k].end, term.factor->out_begin + term.factor->out_channels));
    std::vector<double> values;
    for (int64_t channel = first; channel < last; ++channel) values.push_back(TermRow(term, channel - term.factor->out_begin));
    term = {nullptr, {first, last}, std::move(values)};
  }
  if (!bias.factors.empty()) term.factor = &plan_.factors[bias.factors[0]];
  return term;
}

// Pointwise branches beside one larger kernel (1x1 and identity of a RepVGG block) touch one tap of each channel: then only that
// one is summed.
void RowFuser::ChooseSumGrid() {
  sum_h_ = plan_.kernel_h, sum_w_ = plan_.kernel_w;
  const int64_t taps = sum_h_ * sum_w_;
  const FuseChain* base = BaseOf(0);
  const FuseChain* pointwise = nullptr;
  if (base == nullptr || taps % 2 == 0 || taps > static_cast<int64_t>(kFusePatchTaps)) return;
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    if (f.out_channels != plan_.out_channels) return;  // other rows have another base
    if (&chain == base) continue;
    const bool same = pointwise == nullptr || (chain.origin_h == pointwise->origin_h && chain.origin_w == pointwise->origin_w);
    if (chain.factors.size() > 1 || Taps(f) > 1 || !same) return;
    pointwise = &chain;
  }
  if (pointwise == nullptr) return;
  sum_h_ = sum_w_ = 1;
  sum_top_ = pointwise->origin_h, sum_left_ = pointwise->origin_w;
  ChoosePointwise();
}

// The branches of a RepVGG block on the one tap that ChooseSumGrid found: a 1x1 kernel that covers the row's channels, and at most
// one identity. Two terms and the base: their order makes no difference to a bit.
void RowFuser::ChoosePointwise() {
  const FuseChain* base = BaseOf(0);
  const FuseFactor* pointwise = nullptr;
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    if (&chain == base) continue;
    const FuseFactor** slot = f.type == FuseType::kF32 ? &pointwise : &identity_;
    const bool fits = f.type == FuseType::kF32 ? f.in_per_group == plan_.in_per_group && f.groups == plan_.groups
                                               : f.type == FuseType::kConstant && f.in_per_group == 1;
    if (!fits || *slot != nullptr || f.in_begin != 0 || f.out_begin != 0) return;
    *slot = &f;
  }
  pointwise_ = pointwise;
}

// The row of a RepVGG block, straight from its kernels. What the identity adds to is computed first: `out` may overwrite it.
bool RowFuser::FinishPointwise(const FuseChain& base, int64_t row, float* out) const {
  const FuseFactor& f = plan_.factors[base.factors[0]];
  const int64_t taps = plan_.kernel_h * plan_.kernel_w, tap = sum_top_ * plan_.kernel_w + sum_left_, channels = plan_.in_per_group;
  const float* w = static_cast<const float*>(f.data) + (row - f.out_begin) * RowSize(f);
  const float* tap_w = static_cast<const float*>(pointwise_->data) + row * channels;
  const double scale = ScaleAt(f, row - f.out_begin), tap_scale = ScaleAt(*pointwise_, row);
  const auto size = static_cast<size_t>(channels);
  const auto patch = [&] {
    return patch_(nullptr, tap_w, tap_scale, static_cast<size_t>(taps), static_cast<size_t>(tap), w, scale, out, size);
  };
  if (identity_ == nullptr) return patch();
  const int64_t channel = row / (identity_->out_channels / identity_->groups) - RowChannels(plan_, row).begin;
  if (channel < 0 || channel >= channels) return patch();
  const double own = 0.0 + tap_scale * static_cast<double>(tap_w[channel]) + ScaleAt(*identity_, row) * identity_->value;
  const float value = Round(own + scale * static_cast<double>(w[channel * taps + tap]));
  const bool finite = patch();
  out[channel * taps + tap] = value;
  // A value that only the identity brings back into range is no overflow.
  return (finite && std::isfinite(value)) || kernels_.fuse_scan(out, size * static_cast<size_t>(taps)) < kInfinity;
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
  const int64_t first = std::max(begin, term.channels.begin), last = std::min(begin + f.in_per_group, term.channels.end);
  const auto constant_of = [&](int64_t channel) { return term.values[static_cast<size_t>(channel - term.channels.begin)]; };
  double sum = 0;
  if (f.type == FuseType::kConstant) {
    for (int64_t channel = first; channel < last; ++channel) sum += f.value * static_cast<double>(Taps(f)) * constant_of(channel);
    return ScaleAt(f, o) * sum;
  }
  WithReader(f, [&](auto read) {
    for (int64_t channel = first; channel < last; ++channel) {
      const double constant = constant_of(channel);
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

void RowFuser::ReadAhead(Span rows) const {
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    if (chain.factors.size() > 1 || f.type != FuseType::kF32 || RowSize(f) > RowSize(plan_) / 4) continue;
    const int64_t begin = std::max(rows.begin, f.out_begin) - f.out_begin, end = std::min(rows.end - f.out_begin, f.out_channels);
    if (begin < end)
      kernels_.fuse_scan(static_cast<const float*>(f.data) + begin * RowSize(f), static_cast<size_t>((end - begin) * RowSize(f)));
  }
}

bool RowFuser::ScratchSize(int64_t* doubles) const {
  const int64_t row = long_chains_ ? RowSize(plan_) : tile_channels_ * sum_h_ * sum_w_;
  *doubles = row + 2 * middle_;
  return representable_;
}

void RowFuser::LongChains(int64_t row, double* scratch) const {
  std::fill_n(scratch, RowSize(plan_), 0.0);
  for (const FuseChain& chain : plan_.chains) {
    const size_t count = chain.factors.size();
    const FuseFactor& first = plan_.factors[chain.factors[0]];
    if (count < 2 || row < first.out_begin || row >= first.out_begin + first.out_channels) continue;
    Coefficients from{&first,         row - first.out_begin, nullptr,      Reach(first, {row, row + 1}),
                      first.kernel_h, first.kernel_w,        first.step_h, first.step_w};
    for (size_t k = 1; k < count; ++k) {
      const FuseFactor& f = plan_.factors[chain.factors[k]];
      Grid to{scratch, RowChannels(plan_, row).begin, plan_.kernel_h, plan_.kernel_w, chain.origin_h, chain.origin_w};
      const bool last = k + 1 == count;
      const Span reach = Reach(f, from.channels);
      if (!last) {
        double* middle = scratch + RowSize(plan_) + (k % 2) * middle_;
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

void RowFuser::Products(const FuseFactor& f, const double* c, int64_t rows, int64_t taps, int64_t index, int64_t columns,
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

// The chain that is added last, straight from its kernel's row to the result's: the last one of a kernel whose rows are laid out
// as those of the fused kernel. Null if there is none.
const FuseChain* RowFuser::BaseOf(int64_t row) const {
  const FuseChain* base = nullptr;
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    const bool covers = row >= f.out_begin && row < f.out_begin + f.out_channels && RowSize(f) == RowSize(plan_);
    if (chain.factors.size() == 1 && f.type == FuseType::kF32 && covers) base = &chain;
  }
  return base;
}

bool RowFuser::Finish(const FuseChain* base, int64_t row, int64_t begin, const double* sum, float* out, int64_t count) const {
  const float* w = nullptr;
  double scale = 0;
  if (base != nullptr) {
    const FuseFactor& f = plan_.factors[base->factors[0]];
    w = static_cast<const float*>(f.data) + (row - f.out_begin) * RowSize(f) + begin;
    scale = ScaleAt(f, row - f.out_begin);
  }
  const int64_t taps = plan_.kernel_h * plan_.kernel_w;
  if (sum == nullptr || sum_h_ * sum_w_ == taps) return finish_(sum, w, scale, out, static_cast<size_t>(count));
  return patch_(sum, nullptr, 0.0, static_cast<size_t>(taps), static_cast<size_t>(sum_top_ * plan_.kernel_w + sum_left_), w, scale, out,
                static_cast<size_t>(count / taps));
}

// Sums the chains of one factor but `base` over the tile of input channels `channels` (counted within the row); false if the
// tile is all zero and was left alone.
bool RowFuser::ShortChains(int64_t row, Span channels, const FuseChain* base, double* tile) const {
  const int64_t taps = sum_h_ * sum_w_, size = (channels.end - channels.begin) * taps;
  bool clear = long_chains_;
  for (const FuseChain& chain : plan_.chains) {
    const FuseFactor& f = plan_.factors[chain.factors[0]];
    if (chain.factors.size() > 1 || &chain == base || row < f.out_begin || row >= f.out_begin + f.out_channels) continue;
    const int64_t o = row - f.out_begin, own_taps = Taps(f);
    // Where the factor's first channel lies among those of the row.
    const int64_t shift = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group - RowChannels(plan_, row).begin;
    const int64_t begin = std::max(channels.begin, shift), count = std::min(channels.end, shift + f.in_per_group) - begin;
    if (count <= 0) continue;
    if (!clear) std::fill_n(tile, size, 0.0);
    clear = true;
    double* acc = tile + (begin - channels.begin) * taps;
    const int64_t first = o * RowSize(f) + (begin - shift) * own_taps;
    if (own_taps == taps && f.type == FuseType::kF32) {  // then the origin is 0 and taps lie side by side
      kernels_.fuse_accumulate(acc, static_cast<const float*>(f.data) + first, ScaleAt(f, o), static_cast<size_t>(count * taps));
      continue;
    }
    acc += (chain.origin_h - sum_top_) * sum_w_ + chain.origin_w - sum_left_;
    for (int64_t u = 0; u < f.kernel_h; ++u) {
      for (int64_t v = 0; v < f.kernel_w; ++v) {
        AddTap(f, o, first + u * f.kernel_w + v, count, acc + u * f.step_h * sum_w_ + v * f.step_w);
      }
    }
  }
  return clear;
}

// Adds one tap of filter `o`, found in each of `count` channels from index `first` on, to the same tap of the tile.
void RowFuser::AddTap(const FuseFactor& f, int64_t o, int64_t first, int64_t count, double* acc) const {
  const int64_t stride = sum_h_ * sum_w_, pitch = Taps(f);
  const double scale = ScaleAt(f, o);
  if (f.type == FuseType::kF32 && pitch == 1) {
    double products[kTileValues];
    for (int64_t begin = 0; begin < count; begin += kTileValues) {
      const int64_t n = std::min(kTileValues, count - begin);
      kernels_.fuse_scale(products, static_cast<const float*>(f.data) + first + begin, scale, static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) acc[(begin + i) * stride] += products[i];
    }
    return;
  }
  WithReader(f, [&](auto read) {
    for (int64_t i = 0; i < count; ++i) acc[i * stride] += scale * read(first + i * pitch);
  });
}

}  // namespace repfuse::fuse
