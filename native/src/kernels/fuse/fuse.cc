// The one pass of fusing. Row o of a chain K0 K1 ... Kn is the unit functional on output channel o pulled back through the
// factors: first a single coefficient, after each factor but the last a dense vector of coefficients over (channel, window) of
// the map in between; the last factor adds coefficient times weight to the row. A row is done in tiles of input channels whose
// float64 accumulator stays in L1, so one-factor chains (a convolution with its BN) stream from memory once, in place.
#include "repfuse/fuse.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <vector>

#include "plan.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::fuse {
namespace {

constexpr int64_t kTileValues = 2048;      // float64 accumulator of a tile: 16 KiB
constexpr int64_t kTargetShare = 1 << 16;  // values of the rows that one index of the loop takes

double WeightAt(const FuseFactor& f, int64_t index) {
  if (f.data == nullptr) return f.value;
  return f.is_f64 ? static_cast<const double*>(f.data)[index] : static_cast<double>(static_cast<const float*>(f.data)[index]);
}

// Coefficients over channels [begin, begin + channels) and a window of height x width, channel-major.
struct Functional {
  int64_t begin = 0, channels = 0, height = 1, width = 1;
  double* coefficient = nullptr;
};

int64_t WindowH(const FuseFactor& f) { return (f.kernel_h - 1) * f.step_h + 1; }
int64_t WindowW(const FuseFactor& f) { return (f.kernel_w - 1) * f.step_w + 1; }

// Calls visit(coefficient, weight index of the filter, first input channel) for every non-zero coefficient that the factor sees.
template <typename Visit>
void ForFilters(const FuseFactor& f, const Functional& from, const Visit& visit) {
  const int64_t filter = f.in_per_group * f.kernel_h * f.kernel_w, per_group = f.out_channels / f.groups;
  const int64_t first = std::max(from.begin, f.out_begin), last = std::min(from.begin + from.channels, f.out_begin + f.out_channels);
  for (int64_t channel = first; channel < last; ++channel) {
    const int64_t o = channel - f.out_begin;
    const double* row = from.coefficient + (channel - from.begin) * from.height * from.width;
    const double scale = f.scale == nullptr ? 1.0 : f.scale[o];
    for (int64_t y = 0; y < from.height; ++y) {
      for (int64_t x = 0; x < from.width; ++x) {
        const double c = row[y * from.width + x];
        if (c != 0.0) visit(c * scale, o * filter, f.in_begin + o / per_group * f.in_per_group, y, x);
      }
    }
  }
}

// The functional on the factor's input that equals `from` on its output.
Functional PullBack(const FuseFactor& f, const Functional& from, double* storage) {
  const int64_t per_group = f.out_channels / f.groups;
  const int64_t first = std::max(from.begin, f.out_begin), last = std::min(from.begin + from.channels, f.out_begin + f.out_channels);
  Functional to;
  to.coefficient = storage;
  to.height = from.height + WindowH(f) - 1;
  to.width = from.width + WindowW(f) - 1;
  if (first >= last) return to;
  const int64_t group = (first - f.out_begin) / per_group, last_group = (last - 1 - f.out_begin) / per_group;
  to.begin = f.in_begin + group * f.in_per_group;
  to.channels = (last_group - group + 1) * f.in_per_group;
  std::fill_n(storage, to.channels * to.height * to.width, 0.0);
  ForFilters(f, from, [&](double c, int64_t filter, int64_t channel, int64_t y, int64_t x) {
    for (int64_t i = 0; i < f.in_per_group; ++i) {
      double* plane = storage + (channel - to.begin + i) * to.height * to.width;
      for (int64_t u = 0; u < f.kernel_h; ++u) {
        for (int64_t v = 0; v < f.kernel_w; ++v) {
          plane[(y + u * f.step_h) * to.width + x + v * f.step_w] += c * WeightAt(f, filter + (i * f.kernel_h + u) * f.kernel_w + v);
        }
      }
    }
  });
  return to;
}

// Largest coefficient storage that pulling back through `factors` needs, and whether more than one channel ever arises.
int64_t FunctionalSize(const std::vector<FuseFactor>& factors, size_t count) {
  int64_t height = 1, width = 1, channels = 1, largest = 1;
  for (size_t i = 0; i < count; ++i) {
    const FuseFactor& f = factors[i];
    height += WindowH(f) - 1;
    width += WindowW(f) - 1;
    const int64_t per_group = f.out_channels / f.groups;
    channels = std::min(f.groups, (channels + per_group - 1) / per_group + (i > 0 ? 1 : 0)) * f.in_per_group;
    largest = std::max(largest, channels * height * width);
  }
  return largest;
}

// Scratch of one thread, in doubles.
struct Layout {
  int64_t tile_channels = 0;  // input channels of one tile
  int64_t tile = 0;           // the accumulator of a tile: [channel][tap]
  int64_t products = 0;       // sums over the map in between: [window position][channel] of a tile
  int64_t functional = 0;     // last functionals of all chains of two and more factors
  int64_t turn = 0;           // one of the two buffers that longer pull-backs alternate between
  std::vector<int64_t> functional_at;  // per chain

  int64_t total() const { return tile + products + functional + 2 * turn; }
};

Layout LayoutOf(const FusePlan& plan) {
  const int64_t taps = plan.kernel_h * plan.kernel_w;
  Layout layout;
  int64_t channels = std::max<int64_t>(1, kTileValues / taps);
  if (channels > 16) channels = channels / 16 * 16;
  layout.tile_channels = std::min(channels, plan.in_per_group);
  layout.tile = layout.tile_channels * taps;
  for (const FuseChain& chain : plan.chains) {
    layout.functional_at.push_back(layout.functional);
    const size_t pulled = chain.factors.size() - 1;
    if (pulled == 0) continue;
    layout.products = layout.tile;
    layout.functional += FunctionalSize(chain.factors, pulled);
    if (pulled > 1) layout.turn = std::max(layout.turn, FunctionalSize(chain.factors, pulled));
  }
  for (const FuseBias& bias : plan.biases) {
    if (!bias.factors.empty()) layout.turn = std::max(layout.turn, FunctionalSize(bias.factors, bias.factors.size()));
  }
  return layout;
}

struct Scratch {
  double* tile;
  double* products;
  double* functional;
  double* turn[2];

  Scratch(double* base, const Layout& layout) {
    tile = base;
    products = tile + layout.tile;
    functional = products + layout.products;
    turn[0] = functional + layout.functional;
    turn[1] = turn[0] + layout.turn;
  }
};

// The unit functional on output channel `row` pulled back through the first `count` factors; the result lies in `last`.
Functional PullBackAll(const std::vector<FuseFactor>& factors, size_t count, int64_t row, double* unit, double* last, const Scratch& scratch) {
  *unit = 1.0;
  Functional functional{row, 1, 1, 1, unit};
  for (size_t i = 0; i < count; ++i) functional = PullBack(factors[i], functional, i + 1 == count ? last : scratch.turn[i % 2]);
  return functional;
}

double BiasOf(const FusePlan& plan, int64_t row, const Scratch& scratch) {
  double sum = 0.0;
  for (const FuseBias& bias : plan.biases) {
    double unit;
    const size_t count = bias.factors.size();
    const Functional f = PullBackAll(bias.factors, count, row, &unit, scratch.turn[(count + 1) % 2], scratch);
    const int64_t first = std::max(f.begin, bias.begin), last = std::min(f.begin + f.channels, bias.begin + bias.count);
    double term = 0.0;
    for (int64_t channel = first; channel < last; ++channel) {
      const double* c = f.coefficient + (channel - f.begin) * f.height * f.width;
      for (int64_t i = 0; i < f.height * f.width; ++i) term += c[i] * bias.constant[channel - bias.begin];
    }
    sum += term;
  }
  return sum;
}

// Evaluates rows of the target kernel with one thread's scratch.
class RowFuser {
 public:
  RowFuser(const FusePlan& plan, const Layout& layout, const KernelTable& kernels, double* scratch)
      : plan_(plan), layout_(layout), kernels_(kernels), scratch_(scratch, layout) {}

  // Calls emit(offset in the row, accumulator, count) for each tile of row `row`.
  template <typename Emit>
  void Run(int64_t row, const Emit& emit) {
    // Functionals come before the first tile is written: an in-place kernel's row is gone after that.
    functionals_.clear();
    units_.resize(plan_.chains.size());
    for (size_t i = 0; i < plan_.chains.size(); ++i) {
      const FuseChain& chain = plan_.chains[i];
      functionals_.push_back(PullBackAll(chain.factors, chain.factors.size() - 1, row, &units_[i], scratch_.functional + layout_.functional_at[i], scratch_));
    }
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    const int64_t row_begin = RowChannels(plan_, row).begin;
    for (int64_t begin = 0; begin < plan_.in_per_group; begin += layout_.tile_channels) {
      const int64_t channels = std::min(layout_.tile_channels, plan_.in_per_group - begin);
      cleared_ = false;
      for (size_t i = 0; i < plan_.chains.size(); ++i) {
        AddChain(plan_.chains[i], functionals_[i], {row_begin + begin, row_begin + begin + channels});
      }
      if (!cleared_) std::fill_n(scratch_.tile, channels * taps, 0.0);
      emit(begin * taps, scratch_.tile, channels * taps);
    }
  }

 private:
  // The tile's values before the first term.
  void Clear(int64_t count) {
    if (!cleared_) std::fill_n(scratch_.tile, count, 0.0);
    cleared_ = true;
  }

  void AddChain(const FuseChain& chain, const Functional& functional, Span tile) {
    const FuseFactor& f = chain.factors.back();
    const bool f32 = f.data != nullptr && !f.is_f64;
    if (f32 && FillsWindow(chain, functional)) return AddContiguous(f, functional, tile);
    Clear((tile.end - tile.begin) * plan_.kernel_h * plan_.kernel_w);
    if (f32 && f.kernel_h == 1 && f.kernel_w == 1 && functional.channels > 1) return AddPointwise(chain, functional, tile);
    AddStrided(chain, functional, tile);
  }

  // Whether the last kernel's filters are laid out as the target's: then whole runs of the row are added at once.
  bool FillsWindow(const FuseChain& chain, const Functional& functional) const {
    const FuseFactor& f = chain.factors.back();
    return functional.height == 1 && functional.width == 1 && chain.origin_h == 0 && chain.origin_w == 0 && f.kernel_h == plan_.kernel_h &&
           f.kernel_w == plan_.kernel_w && (f.kernel_h == 1 || f.step_h == 1) && (f.kernel_w == 1 || f.step_w == 1);
  }

  void AddContiguous(const FuseFactor& f, const Functional& functional, Span tile) {
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    const float* w = static_cast<const float*>(f.data);
    ForFilters(f, functional, [&](double c, int64_t filter, int64_t channel, int64_t, int64_t) {
      const int64_t first = std::max(channel, tile.begin), last = std::min(channel + f.in_per_group, tile.end);
      if (first >= last) return;
      double* acc = scratch_.tile + (first - tile.begin) * taps;
      const float* run = w + filter + (first - channel) * taps;
      const size_t count = static_cast<size_t>((last - first) * taps);
      if (!cleared_ && first == tile.begin && last == tile.end) {
        kernels_.fuse_scale(acc, run, c, count);
        cleared_ = true;
      } else {
        Clear((tile.end - tile.begin) * taps);
        kernels_.fuse_accumulate(acc, run, c, count);
      }
    });
  }

  // A 1x1 kernel under a window of coefficients (1x1 then KxK): summed position by position, where the input channels are
  // contiguous, then added to the tile as one term.
  void AddPointwise(const FuseChain& chain, const Functional& functional, Span tile) {
    const FuseFactor& f = chain.factors.back();
    const int64_t channels = tile.end - tile.begin, window = functional.height * functional.width;
    std::fill_n(scratch_.products, channels * window, 0.0);
    ForFilters(f, functional, [&](double c, int64_t filter, int64_t channel, int64_t y, int64_t x) {
      const int64_t first = std::max(channel, tile.begin), last = std::min(channel + f.in_per_group, tile.end);
      if (first >= last) return;
      double* acc = scratch_.products + (y * functional.width + x) * channels + first - tile.begin;
      kernels_.fuse_accumulate(acc, static_cast<const float*>(f.data) + filter + first - channel, c, static_cast<size_t>(last - first));
    });
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    for (int64_t y = 0; y < functional.height; ++y) {
      for (int64_t x = 0; x < functional.width; ++x) {
        const double* sums = scratch_.products + (y * functional.width + x) * channels;
        double* acc = scratch_.tile + (chain.origin_h + y) * plan_.kernel_w + chain.origin_w + x;
        for (int64_t i = 0; i < channels; ++i) acc[i * taps] += sums[i];
      }
    }
  }

  void AddStrided(const FuseChain& chain, const Functional& functional, Span tile) {
    const FuseFactor& f = chain.factors.back();
    const int64_t taps = plan_.kernel_h * plan_.kernel_w;
    ForFilters(f, functional, [&](double c, int64_t filter, int64_t channel, int64_t y, int64_t x) {
      const int64_t first = std::max(channel, tile.begin), last = std::min(channel + f.in_per_group, tile.end);
      for (int64_t u = 0; u < f.kernel_h; ++u) {
        for (int64_t v = 0; v < f.kernel_w; ++v) {
          const int64_t tap = (chain.origin_h + y + u * f.step_h) * plan_.kernel_w + chain.origin_w + x + v * f.step_w;
          const int64_t at = filter + u * f.kernel_w + v, stride = f.kernel_h * f.kernel_w;
          for (int64_t i = first; i < last; ++i) {
            scratch_.tile[(i - tile.begin) * taps + tap] += c * WeightAt(f, at + (i - channel) * stride);
          }
        }
      }
    });
  }

  const FusePlan& plan_;
  const Layout& layout_;
  const KernelTable& kernels_;
  const Scratch scratch_;
  std::vector<Functional> functionals_;
  std::vector<double> units_;
  bool cleared_ = false;
};

bool FitsFloat(double value) { return std::fabs(value) <= FLT_MAX; }

}  // namespace
}  // namespace repfuse::fuse

namespace repfuse {

Status Fuse(const FusePlan& plan, int threads, FuseStats* stats) {
  using namespace fuse;
  Status status = CheckShapes(plan);
  bool may_overflow = false;
  if (status.ok()) status = CheckOverlap(plan, &stats->in_place);
  if (status.ok()) status = CheckValues(plan, threads, &may_overflow);
  if (!status.ok()) return status;

  const KernelTable& kernels = Kernels();
  const Layout layout = LayoutOf(plan);
  threads = static_cast<int>(std::clamp<int64_t>(threads, 1, std::min<int64_t>(kMaxThreads, plan.out_channels)));
  AlignedBuffer scratch, biases;
  if (!scratch.Allocate(static_cast<size_t>(layout.total()) * sizeof(double) * static_cast<size_t>(threads)) ||
      !biases.Allocate(static_cast<size_t>(plan.out_channels) * sizeof(double))) {
    return {Code::kOutOfMemory, "scratch of the fuse pass"};
  }
  stats->scratch_bytes_per_thread = layout.total() * static_cast<int64_t>(sizeof(double));
  std::vector<RowFuser> fusers;
  for (int i = 0; i < threads; ++i) fusers.emplace_back(plan, layout, kernels, scratch.as<double>() + i * layout.total());

  std::atomic<int64_t> overflow{-1};
  ParallelFor(plan.out_channels, threads, [&](int64_t row, int slot) {
    const double bias = BiasOf(plan, row, Scratch(scratch.as<double>() + slot * layout.total(), layout));
    biases.as<double>()[row] = bias;
    if (!FitsFloat(bias)) overflow.store(row);
  });
  const int64_t row_size = plan.in_per_group * plan.kernel_h * plan.kernel_w;
  const int64_t rows_per_share = std::max<int64_t>(1, kTargetShare / row_size), shares = (plan.out_channels + rows_per_share - 1) / rows_per_share;
  const auto for_rows = [&](const auto& body) {
    ParallelFor(shares, threads, [&](int64_t share, int slot) {
      const int64_t end = std::min(plan.out_channels, (share + 1) * rows_per_share);
      for (int64_t row = share * rows_per_share; row < end; ++row) body(row, fusers[slot]);
    });
  };
  if (may_overflow) {  // a rehearsal: everything but the writing
    for_rows([&](int64_t row, RowFuser& fuser) {
      fuser.Run(row, [&](int64_t, const double* acc, int64_t count) {
        if (!std::all_of(acc, acc + count, FitsFloat)) overflow.store(row);
      });
    });
  }
  if (overflow.load() >= 0) return {Code::kNotFinite, "a fused value is beyond float32", overflow.load()};

  for_rows([&](int64_t row, RowFuser& fuser) {
    float* out = plan.weight + row * row_size;
    fuser.Run(row, [&](int64_t offset, const double* acc, int64_t count) { kernels.fuse_round(acc, out + offset, static_cast<size_t>(count)); });
  });
  for (int64_t row = 0; row < plan.out_channels; ++row) plan.bias[row] = static_cast<float>(biases.as<double>()[row]);
  return Ok();
}

}  // namespace repfuse
