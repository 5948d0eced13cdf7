#include <algorithm>
#include <vector>

#include "dense_rows.h"
#include "lanes.h"

namespace repfuse {
namespace {

// A dense convolution whose channels come to lie as blocks of pixels (depth to space), or in planes: rows of all channels are made where
// the nearest caches hold them, and written where they belong.
class SpreadConv final : public Step {
 public:
  SpreadConv(const ConvSetting& setting, TileSize tile, int threads, const Spread& spread, const ImageShape& wide, Value output)
      : Step(output), spread_(spread), height_(wide.height) {
    const int64_t lanes = std::min<int64_t>(threads, height_);
    middle_ = RowsInCache(wide.channels, wide.width, (height_ + lanes - 1) / lanes);
    parts_ = (height_ + middle_.shape.height - 1) / middle_.shape.height;
    rows_ = MakeDenseRows(setting, tile, setting.input.layout, middle_);
    const int64_t channels = output.layout.shape.channels, to = output.layout.lanes();
    for (int64_t pixel = 0; pixel < spread.pixels(); ++pixel) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = spread.channel(c, pixel, channels);
        Piece next{pixel, from / kBlock, from % kBlock, c / to, c % to, 1};
        if (!pieces_.empty() && Follows(pieces_.back(), next)) ++pieces_.back().lanes;
        else pieces_.push_back(next);
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
        for (const Piece& each : pieces_) Write(each, middle + middle_.at(0, each.block, row, 0) + each.lane, n, from + row, out(run));
        for (int64_t y = (from + row) * spread_.height; y < (from + row + 1) * spread_.height; ++y)
          ClearPaddedChannels(to, to.planes() - 1, out(run) + to.at(n, to.planes() - 1, y, 0));
      }
    });
  }

  int64_t workspace() const override {
    return middle_.elements() + rows_->scratch(middle_.shape.height, static_cast<int64_t>(rows_->setting().weights->panels.size()));
  }
  std::string kernel() const override { return rows_->kernel() + (spread_.pixels() > 1 ? ", spread" : ", in planes"); }

 private:
  // Channels that lie side by side on both sides: of which pixel of a block, from and to where.
  struct Piece {
    int64_t pixel, block, lane, to_plane, to_lane, lanes;
  };
  static bool Follows(const Piece& last, const Piece& next) {
    return last.pixel == next.pixel && last.block == next.block && last.to_plane == next.to_plane && last.lane + last.lanes == next.lane &&
           last.to_lane + last.lanes == next.to_lane;
  }

  // A row of pixels, each to the place of its block.
  void Write(const Piece& each, const float* from, int64_t n, int64_t row, float* values) const {
    const Layout& to = output_.layout;
    float* y =
        values + to.at(n, each.to_plane, row * spread_.height + each.pixel / spread_.width, each.pixel % spread_.width) + each.to_lane;
    CopyLanes({from, kBlock, y, spread_.width * to.pixel(), middle_.shape.width}, each.lanes);
  }

  Spread spread_;
  int64_t height_, parts_ = 1;  // rows of the convolution's own result, in so many parts
  Layout middle_;
  std::unique_ptr<DenseRows> rows_;
  std::vector<Piece> pieces_;
};

}  // namespace

std::unique_ptr<Step> MakeSpreadConv(const ConvSetting& setting, TileSize tile, int threads, const Spread& spread, const ImageShape& wide,
                                     Value output) {
  return std::make_unique<SpreadConv>(setting, tile, threads, spread, wide, output);
}

}  // namespace repfuse
