#include <algorithm>

#include "../kernels/elementwise/binary_rows.h"
#include "dense_rows.h"

namespace repfuse {
namespace {

// Rows of all channels that are scaled and multiplied while the L2 cache holds them.
constexpr int64_t kRowsBytes = 256 << 10;

// Weights are scaled in place of a map that has so many times as many elements: by every thread, whose number no result may depend on.
constexpr int64_t kFewWeights = 8;

// A pointwise convolution of a map whose channels are scaled, as squeeze-excite does. The scaled rows lie in no map; of fewer weights than
// rows each image's own are scaled.
class GatedConv final : public Step {
 public:
  GatedConv(const Gated& gated, ConvSetting pointwise, TileSize tile, int threads, Value output)
      : Step(output), map_(gated.map), gates_(gated.gates), one_row_(gated.one_row) {
    const ImageShape& shape = map_.layout.shape;
    const auto weights = static_cast<int64_t>(pointwise.weights->weight.bytes() / sizeof(float));
    const int terms = pointwise.packing.terms;
    scales_weights_ = terms == 0 && weights * kFewWeights <= map_.layout.blocks() * kBlock * shape.height * shape.width;
    if (!one_row_) lanes_ = std::min<int64_t>(threads, shape.height);
    else groups_ = std::min<int64_t>(threads, static_cast<int64_t>(pointwise.weights->panels.size()));
    Layout middle = RowsInCache(shape.channels, shape.width, (shape.height + lanes_ - 1) / lanes_, kRowsBytes);
    if (one_row_) middle.shape.height = shape.height;
    rows_at_once_ = middle.shape.height;
    middle_ = scales_weights_ ? map_.layout : middle;
    terms_ = middle_;
    terms_.terms = terms;
    scaled_ = (scales_weights_ ? weights : middle.elements()) + (terms > 0 ? terms_.elements() : 0);
    if (one_row_ && pointwise.residual) pointwise.residual->layout = pointwise.residual->layout.AsOneRow();
    rows_ = MakeDenseRows(std::move(pointwise), tile, one_row_ ? terms_.AsOneRow() : terms_,
                          one_row_ ? output.layout.AsOneRow() : output.layout);
  }

  void Run(const RunState& run) const override {
    const ImageShape& to = output_.layout.shape;
    ForEach(to.batch * lanes_ * groups_, run.threads, [&](int64_t share, int thread) {
      const int64_t n = share / groups_ / lanes_, lane = share / groups_ % lanes_, group = share % groups_;
      const int64_t end = to.height * (lane + 1) / lanes_;
      const Group panels{static_cast<size_t>(Panels() * group / groups_), static_cast<size_t>(Panels() * (group + 1) / groups_)};
      float* const scaled = run.workspace + thread * run.workspace_size;
      if (scales_weights_) ScaleWeights(run, n, panels, scaled);
      for (int64_t from = to.height * lane / lanes_; from < end; from += rows_at_once_) {
        const Rows rows{n, from, std::min(from + rows_at_once_, end)};
        if (!scales_weights_) ScaleRows(run, rows, scaled);
        if (terms_.terms > 0)
          SplitRows(rows_->setting().kernels->terms, middle_, scaled, terms_, scaled + middle_.elements(), rows.to - rows.from);
        Multiply(run, rows, panels, scaled);
      }
    });
  }

  int64_t workspace() const override { return scaled_ + rows_->scratch(one_row_ ? 1 : rows_at_once_, Panels()); }
  std::string kernel() const override { return (scales_weights_ ? "gated weights + " : "gate + ") + rows_->kernel(); }

 private:
  struct Rows {
    int64_t image, from, to;
  };

  struct Group {
    size_t first, last;  // panels, without the last
  };

  int64_t Panels() const { return static_cast<int64_t>(rows_->setting().weights->panels.size()); }

  // Rows of the map times their gates.
  void ScaleRows(const RunState& run, const Rows& rows, float* scaled) const {
    const Layout& in = map_.layout;
    for (int64_t block = 0; block < in.blocks(); ++block) {
      const float* const gate = run.at(gates_) + gates_.layout.at(rows.image, block, 0, 0);
      for (int64_t row = rows.from; row < rows.to; ++row) {
        rows_->setting().kernels->binary.mul({.a = run.at(map_) + in.at(rows.image, block, row, 0),
                                              .b = gate,
                                              .y = scaled + middle_.at(0, block, row - rows.from, 0),
                                              .outer = in.shape.width,
                                              .inner = kBlock,
                                              .a_outer = kBlock,
                                              .b_outer = 0,
                                              .a_inner = 1,
                                              .b_inner = 1});
      }
    }
  }

  // The weights of each input channel times its gate, packed as they are.
  void ScaleWeights(const RunState& run, int64_t image, const Group& panels, float* scaled) const {
    const ConvSetting& p = rows_->setting();
    for (size_t i = panels.first; i < panels.last; ++i) {
      const Panel& panel = p.weights->panels[i];
      for (int64_t channel = 0; channel < p.channels.in_channels; channel += kBlock) {
        const int64_t width = panel.blocks * kBlock, at = panel.offset * kBlock * kBlock + channel * width;
        p.kernels->binary.mul({.a = p.weights->weight.as<float>() + at,
                               .b = run.at(gates_) + gates_.layout.at(image, channel / kBlock, 0, 0),
                               .y = scaled + at,
                               .outer = std::min(kBlock, p.channels.in_channels - channel),
                               .inner = width,
                               .a_outer = width,
                               .b_outer = 1,
                               .a_inner = 1,
                               .b_inner = 0});
      }
    }
  }

  void Multiply(const RunState& run, const Rows& rows, const Group& panels, float* scaled) const {
    const ConvSetting& p = rows_->setting();
    const float* residual = p.residual ? run.at(*p.residual) + p.residual->layout.at(rows.image, 0, rows.from, 0) : nullptr;
    rows_->Run({.first_panel = panels.first,
                .last_panel = panels.last,
                .rows = one_row_ ? 1 : rows.to - rows.from,
                .x = scales_weights_ ? run.at(map_) + map_.layout.at(rows.image, 0, rows.from, 0)
                                     : scaled + (terms_.terms > 0 ? middle_.elements() : 0),
                .y = out(run) + output_.layout.at(rows.image, 0, rows.from, 0),
                .residual = residual,
                .scratch = scaled + scaled_,
                .weight = scales_weights_ ? scaled : nullptr,
                .sums = RowSums(run, p.row_sums, rows.image, rows.from)});
  }

  Value map_, gates_;
  bool one_row_;
  int64_t lanes_ = 1, groups_ = 1;  // of rows; of panels, where a map is one row, which each thread scales for its own
  bool scales_weights_ = false;
  Layout terms_;   // of what is multiplied: the rows, or their terms
  Layout middle_;  // of the rows that are multiplied: the map's own, or scaled ones
  int64_t rows_at_once_ = 1;
  int64_t scaled_ = 0;  // elements of rows and of their terms, or of weights
  std::unique_ptr<DenseRows> rows_;
};

}  // namespace

std::unique_ptr<Step> MakeGatedConv(const Gated& gated, ConvSetting pointwise, TileSize tile, int threads, Value output) {
  return std::make_unique<GatedConv>(gated, std::move(pointwise), tile, threads, output);
}

}  // namespace repfuse
