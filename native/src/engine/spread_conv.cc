#include <algorithm>
#include <vector>

#include "dense_rows.h"

namespace repfuse {
namespace {

// Rows of the map between the two that are there at a time.
constexpr int64_t kMiddleBytes = 128 << 10;

// A dense convolution whose channels come to lie as blocks of pixels (depth to space), or in planes: rows of all channels are made where
// the nearest caches hold them, and written where they belong.
class SpreadConv final : public Step {
 public:
  SpreadConv(const ConvSetting& setting, TileSize tile, int threads, const Spread& spread, const ImageShape& wide, Value output)
      : Step(output), down_(spread.height), across_(spread.width), middle_{.kind = Layout::Kind::kBlocked, .shape = wide} {
    middle_.shape.batch = 1;
    middle_.shape.height = 1;
    const int64_t lanes = std::min<int64_t>(threads, wide.height), rows = (wide.height + lanes - 1) / lanes;
    middle_.shape.height = EvenPart(rows, std::max<int64_t>(kMiddleBytes / (middle_.elements() * 4), 1));
    parts_ = (wide.height + middle_.shape.height - 1) / middle_.shape.height;
    height_ = wide.height;
    rows_ = MakeDenseRows(setting, tile, setting.input.layout, middle_);
    const int64_t channels = output.layout.shape.channels, blocks = down_ * across_, to = output.layout.lanes();
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = spread.channels_first ? c * blocks + block : block * channels + c;
        Part next{block, from / kBlock, from % kBlock, c / to, c % to, 1};
        if (!runs_.empty() && Follows(runs_.back(), next)) ++runs_.back().lanes;
        else runs_.push_back(next);
      }
    }
  }

  void Run(const RunState& run) const override {
    const ConvSetting& s = rows_->setting();
    const Layout &in = s.input.layout, &to = output_.layout;
    ForEach(to.shape.batch * parts_, run.threads, [&](int64_t part, int thread) {
      const int64_t n = part / parts_, from = part % parts_ * middle_.shape.height, rows = std::min(middle_.shape.height, height_ - from);
      float* const middle = run.workspace + thread * run.workspace_size;
      const float* const x = run.slots[s.input.slot] + in.at(n, 0, from * s.stride_h - s.pad_top, -s.pad_left);
      rows_->Run({0, s.weights->panels.size(), rows, x, middle, nullptr, middle + middle_.elements()});
      for (int64_t row = 0; row < rows; ++row) {
        for (const Part& each : runs_) Write(each, middle + middle_.at(0, each.block, row, 0) + each.lane, n, from + row, out(run));
        for (int64_t y = (from + row) * down_; y < (from + row + 1) * down_; ++y)
          ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
      }
    });
  }

  int64_t workspace() const override {
    return middle_.elements() + rows_->scratch(middle_.shape.height, static_cast<int64_t>(rows_->setting().weights->panels.size()));
  }
  std::string kernel() const override { return rows_->kernel() + (down_ * across_ > 1 ? ", spread" : ", in planes"); }

 private:
  // Channels that lie side by side on both sides: of which pixel of a block, from and to where.
  struct Part {
    int64_t pixel, block, lane, to_plane, to_lane, lanes;
  };
  static bool Follows(const Part& last, const Part& next) {
    return last.pixel == next.pixel && last.block == next.block && last.to_plane == next.to_plane && last.lane + last.lanes == next.lane &&
           last.to_lane + last.lanes == next.to_lane;
  }

  // A row of pixels, each to the place of its block.
  void Write(const Part& each, const float* from, int64_t n, int64_t row, float* values) const {
    const Layout& to = output_.layout;
    float* y = values + to.at(n, each.to_plane, row * down_ + each.pixel / across_, each.pixel % across_) + each.to_lane;
    const int64_t width = middle_.shape.width, step = across_ * to.pixel();
    const auto copy = [&](auto lanes) {
      for (int64_t x = 0; x < width; ++x) std::copy_n(from + x * kBlock, lanes(), y + x * step);
    };
    switch (each.lanes) {
      case 1: return copy([] { return 1; });
      case 4: return copy([] { return 4; });
      case 8: return copy([] { return 8; });
      case kBlock: return copy([] { return kBlock; });
      default: return copy([&] { return each.lanes; });
    }
  }

  int64_t down_, across_, height_ = 0, parts_ = 1;  // rows and columns of a block; rows of the convolution's own result, in so many parts
  Layout middle_;
  std::unique_ptr<DenseRows> rows_;
  std::vector<Part> runs_;
};

}  // namespace

std::unique_ptr<Step> MakeSpreadConv(const ConvSetting& setting, TileSize tile, int threads, const Spread& spread, const ImageShape& wide,
                                     Value output) {
  return std::make_unique<SpreadConv>(setting, tile, threads, spread, wide, output);
}

}  // namespace repfuse
