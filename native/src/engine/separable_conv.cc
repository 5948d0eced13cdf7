#include <algorithm>

#include "dense_rows.h"
#include "depthwise_rows.h"

namespace repfuse {
namespace {

// A depthwise convolution and the pointwise one that alone reads it, a few rows of all channels at a time: the map between them never
// leaves the nearest caches, and a thread makes its own rows of both.
class SeparableConv final : public Step {
 public:
  SeparableConv(const ConvSetting& depthwise, const ConvSetting& pointwise, TileSize tile, int threads, Value output)
      : Step(output),
        lanes_(std::min<int64_t>(threads, output.layout.shape.height)),
        middle_(RowsInCache(pointwise.channels.in_channels, output.layout.shape.width, (output.layout.shape.height + lanes_ - 1) / lanes_)),
        terms_(middle_),
        depthwise_(depthwise, depthwise.input.layout, middle_) {
    terms_.terms = pointwise.packing.terms;
    pointwise_ = MakeDenseRows(pointwise, tile, terms_, output.layout);
    first_panel_ = static_cast<int64_t>(pointwise.weights->weight.bytes() / pointwise.weights->panels.size()) / 64;
  }

  void Run(const RunState& run) const override {
    const ConvSetting &s = depthwise_.setting(), &p = pointwise_->setting();
    const Layout &in = s.input.layout, &to = output_.layout;
    ForEach(to.shape.batch * lanes_, run.threads, [&](int64_t share, int thread) {
      const char* weight = p.weights->weight.as<const char>();  // of the pointwise one, while the depthwise one computes
      for (int64_t line = 0; line < first_panel_; ++line) __builtin_prefetch(weight + line * 64, 0, 2);
      const int64_t n = share / lanes_, lane = share % lanes_, end = to.shape.height * (lane + 1) / lanes_;
      float* const middle = run.workspace + thread * run.workspace_size;
      float* const terms = terms_.terms == 0 ? middle : middle + middle_.elements();
      for (int64_t from = to.shape.height * lane / lanes_; from < end; from += middle_.shape.height) {
        const int64_t rows = std::min(middle_.shape.height, end - from);
        for (int64_t block = 0; block < middle_.blocks(); ++block) {
          const float* x = run.slots[s.input.slot] + in.at(n, block, from * s.stride_h - s.pad_top, -s.pad_left);
          depthwise_.Run(block, x, middle + middle_.at(0, block, 0, 0), nullptr, rows);
        }
        if (terms_.terms > 0) SplitRows(p.kernels->terms, middle_, middle, terms_, terms, rows);
        const float* residual = p.residual ? run.slots[p.residual->slot] + p.residual->layout.at(n, 0, from, 0) : nullptr;
        pointwise_->Run({.first_panel = 0,
                         .last_panel = p.weights->panels.size(),
                         .rows = rows,
                         .x = terms,
                         .y = out(run) + to.at(n, 0, from, 0),
                         .residual = residual,
                         .scratch = middle + scratch_at(),
                         .sums = RowSums(run, p.row_sums, n, from)});
      }
    });
  }

  int64_t workspace() const override {
    return scratch_at() + pointwise_->scratch(middle_.shape.height, static_cast<int64_t>(pointwise_->setting().weights->panels.size()));
  }
  std::string kernel() const override { return depthwise_.kernel() + " + " + pointwise_->kernel(); }

 private:
  int64_t scratch_at() const { return middle_.elements() + (terms_.terms == 0 ? 0 : terms_.elements()); }

  int64_t lanes_;
  Layout middle_, terms_;  // the map between, and its terms
  DepthwiseRows depthwise_;
  std::unique_ptr<DenseRows> pointwise_;
  int64_t first_panel_ = 0;  // lines of 64 bytes
};

}  // namespace

std::unique_ptr<Step> MakeSeparableConv(const ConvSetting& depthwise, const ConvSetting& pointwise, TileSize tile, int threads,
                                        Value output) {
  return std::make_unique<SeparableConv>(depthwise, pointwise, tile, threads, output);
}

}  // namespace repfuse
