#include <algorithm>

#include "../kernels/elementwise/binary_rows.h"
#include "dense_rows.h"

namespace repfuse {
namespace {

// Rows of all channels that are scaled and multiplied while the L2 cache holds them.
constexpr int64_t kRowsBytes = 256 << 10;

// A pointwise convolution of a map whose channels are scaled, as squeeze-excite does: the scaled rows lie in no map.
class GatedConv final : public Step {
 public:
  GatedConv(const Gated& gated, ConvSetting pointwise, TileSize tile, int threads, Value output)
      : Step(output),
        map_(gated.map),
        gates_(gated.gates),
        one_row_(gated.one_row),
        lanes_(one_row_ ? 1 : std::min<int64_t>(threads, gated.map.layout.shape.height)) {
    const ImageShape& shape = map_.layout.shape;
    middle_ = RowsInCache(shape.channels, shape.width, (shape.height + lanes_ - 1) / lanes_, kRowsBytes);
    if (one_row_) middle_.shape.height = shape.height;
    if (one_row_ && pointwise.residual) pointwise.residual->layout = pointwise.residual->layout.AsOneRow();
    rows_ = MakeDenseRows(std::move(pointwise), tile, one_row_ ? middle_.AsOneRow() : middle_,
                          one_row_ ? output.layout.AsOneRow() : output.layout);
  }

  void Run(const RunState& run) const override {
    const Layout &in = map_.layout, &to = output_.layout;
    const ConvSetting& p = rows_->setting();
    ForEach(to.shape.batch * lanes_, run.threads, [&](int64_t share, int thread) {
      const int64_t n = share / lanes_, lane = share % lanes_, end = to.shape.height * (lane + 1) / lanes_;
      float* const middle = run.workspace + thread * run.workspace_size;
      for (int64_t from = to.shape.height * lane / lanes_; from < end; from += middle_.shape.height) {
        const int64_t rows = std::min(middle_.shape.height, end - from);
        for (int64_t block = 0; block < in.blocks(); ++block) {
          const float* const gate = run.at(gates_) + gates_.layout.at(n, block, 0, 0);
          for (int64_t row = 0; row < rows; ++row) {
            p.kernels->binary.mul({.a = run.at(map_) + in.at(n, block, from + row, 0),
                                   .b = gate,
                                   .y = middle + middle_.at(0, block, row, 0),
                                   .outer = in.shape.width,
                                   .inner = kBlock,
                                   .a_outer = kBlock,
                                   .b_outer = 0,
                                   .a_inner = 1,
                                   .b_inner = 1});
          }
        }
        const float* residual = p.residual ? run.at(*p.residual) + p.residual->layout.at(n, 0, from, 0) : nullptr;
        rows_->Run({0, p.weights->panels.size(), one_row_ ? 1 : rows, middle, out(run) + to.at(n, 0, from, 0), residual,
                    middle + middle_.elements()});
      }
    });
  }

  int64_t workspace() const override {
    return middle_.elements() +
           rows_->scratch(one_row_ ? 1 : middle_.shape.height, static_cast<int64_t>(rows_->setting().weights->panels.size()));
  }
  std::string kernel() const override { return "gate + " + rows_->kernel(); }

 private:
  Value map_, gates_;
  bool one_row_;
  int64_t lanes_;
  Layout middle_;
  std::unique_ptr<DenseRows> rows_;
};

}  // namespace

std::unique_ptr<Step> MakeGatedConv(const Gated& gated, ConvSetting pointwise, TileSize tile, int threads, Value output) {
  return std::make_unique<GatedConv>(gated, std::move(pointwise), tile, threads, output);
}

}  // namespace repfuse
