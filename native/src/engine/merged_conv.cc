#include <algorithm>
#include <cstring>

#include "dense_rows.h"
#include "depthwise_rows.h"

namespace repfuse {
namespace {

// Of a share: the expanded rows of all channels, where the pointwise convolution behind them adds them up, and of one panel, where none
// does.
constexpr int64_t kAllBytes = 512 << 10, kPanelBytes = 48 << 10;
// Rows that a share has at least, where a map is cut for threads: those at its edges are expanded twice.
constexpr int64_t kLaneRows = 8;

// An inverted residual, some rows at a time. The expanded rows lie in a ring: those that the next ones read too stay where they are.
class MergedConv final : public Step {
 public:
  MergedConv(const MergedConvs& convs, int threads, const Value& output)
      : Step(output), in_(convs.expand.input.layout), pad_top_(convs.depthwise.pad_top), stride_(convs.depthwise.stride_h) {
    const ConvSetting& depthwise = convs.depthwise;
    const ImageShape& to = output.layout.shape;
    const int64_t batch = to.batch, height = to.height, panels = static_cast<int64_t>(convs.expand.weights->panels.size());
    groups_ = convs.project ? 1 : panels;
    const int64_t units = batch * groups_;
    if (threads > 1 && units < 2 * threads)
      lanes_ = std::clamp<int64_t>((2 * threads + units - 1) / units, 1, std::max<int64_t>(height / kLaneRows, 1));
    reach_ = (depthwise.kernel_h - 1) * depthwise.dilation_h + 1;

    ring_.shape = {1, convs.expand.channels.out_channels, 1, in_.shape.width};
    ring_.before = depthwise.pad_left;
    ring_.after = std::max<int64_t>(
        (to.width - 1) * depthwise.stride_w + (depthwise.kernel_w - 1) * depthwise.dilation_w - depthwise.pad_left - (in_.shape.width - 1),
        0);
    blocks_ = convs.project ? ring_.blocks() : convs.expand_tile.blocks;
    const int64_t row = blocks_ * ring_.row() * 4, out_row = convs.project ? blocks_ * to.width * kBlock * 4 : 0;
    const int64_t bytes = (convs.project ? kAllBytes : kPanelBytes) - (reach_ - stride_) * row;
    const int64_t lane_rows = (height + lanes_ - 1) / lanes_;
    step_ = EvenPart(lane_rows, std::clamp<int64_t>(bytes / (stride_ * row + out_row), 1, lane_rows));
    ring_rows_ = (step_ - 1) * stride_ + reach_;
    ring_.shape.height = ring_rows_ - ring_.before - ring_.after;  // the border is of columns only

    expand_ = MakeDenseRows(convs.expand, convs.expand_tile, in_, ring_);
    middle_ = output.layout;
    if (convs.project) {
      middle_ = {.kind = Layout::Kind::kBlocked, .shape = {1, ring_.shape.channels, step_, to.width}};
      project_ = MakeDenseRows(*convs.project, convs.project_tile, middle_, output.layout);
    }
    depthwise_ = std::make_unique<DepthwiseRows>(depthwise, ring_, middle_, ring_rows_);
  }

  void Run(const RunState& run) const override {
    const ImageShape& to = output_.layout.shape;
    ForEach(to.batch * lanes_ * groups_, run.threads, [&](int64_t share, int thread) {
      const int64_t group = share % groups_, lane = share / groups_ % lanes_, n = share / groups_ / lanes_;
      const size_t panel = static_cast<size_t>(group), panels = expand_->setting().weights->panels.size();
      float* const workspace = run.workspace + thread * run.workspace_size;
      const Rows rows{n, to.height * lane / lanes_, to.height * (lane + 1) / lanes_};
      if (project_ == nullptr) RunRows(run, rows, panel, panel + 1, workspace);
      else RunRows(run, rows, 0, panels, workspace);
    });
  }

  int64_t workspace() const override {
    return middle_at() + (project_ == nullptr ? 0 : middle_.elements() + project_->scratch(step_, Panels(*project_)));
  }
  std::string kernel() const override {
    const std::string kernel = expand_->kernel() + " + " + depthwise_->kernel();
    return project_ == nullptr ? kernel : kernel + " + " + project_->kernel();
  }

 private:
  struct Rows {
    int64_t image, from, to;
  };

  static int64_t Panels(const DenseRows& rows) { return static_cast<int64_t>(rows.setting().weights->panels.size()); }
  // Elements of the workspace, before the map between the last two.
  int64_t middle_at() const { return (blocks_ * ring_.plane() + Layout::kReadAheadPixels * kBlock); }

  // Rows of what the depthwise convolution makes of the panels' channels, and what follows.
  void RunRows(const RunState& run, const Rows& rows, size_t first_panel, size_t last_panel, float* ring) const {
    const std::vector<Panel>& panels = expand_->setting().weights->panels;
    const int64_t base = panels[first_panel].block;
    ClearBorder(ring);
    int64_t filled = rows.from * stride_;
    for (int64_t from = rows.from; from < rows.to; from += step_) {
      const int64_t count = std::min(step_, rows.to - from), need = (from + count - 1) * stride_ + reach_;
      filled = std::max(filled, from * stride_);
      float* const middle = ring + middle_at();
      const RowSums sums(run, depthwise_->setting().row_sums, rows.image, from);
      for (size_t p = first_panel; p < last_panel; ++p) {
        Fill(run, rows.image, p, base, {filled, need}, ring);
        for (int64_t block = panels[p].block; block < panels[p].block + panels[p].blocks; ++block) {
          float* const y = project_ == nullptr ? out(run) + middle_.at(rows.image, block, from, 0) : middle + middle_.block(block);
          depthwise_->Run(block, ring + ring_.block(block - base), y, nullptr, count, sums, from * stride_);
        }
      }
      filled = need;
      if (project_ != nullptr) Project(run, {rows.image, from, from + count}, middle);
    }
  }

  void Project(const RunState& run, const Rows& rows, float* middle) const {
    const ConvSetting& p = project_->setting();
    const float* residual = p.residual ? run.slots[p.residual->slot] + p.residual->layout.at(rows.image, 0, rows.from, 0) : nullptr;
    project_->Run({.first_panel = 0,
                   .last_panel = p.weights->panels.size(),
                   .rows = rows.to - rows.from,
                   .x = middle,
                   .y = out(run) + output_.layout.at(rows.image, 0, rows.from, 0),
                   .residual = residual,
                   .scratch = middle + middle_.elements(),
                   .sums = RowSums(run, p.row_sums, rows.image, rows.from)});
  }

  struct Range {
    int64_t from, to;
  };

  // Rows of a panel, counted from the first that a window reads: those above and below the map are zeros.
  void Fill(const RunState& run, int64_t n, size_t panel, int64_t base, Range rows, float* ring) const {
    const ConvSetting& s = expand_->setting();
    const Panel& channels = s.weights->panels[panel];
    const int64_t end = pad_top_ + in_.shape.height;
    for (int64_t row = rows.from, count; row < rows.to; row += count) {
      const int64_t at = row % ring_rows_;
      float* const y = ring + at * ring_.row();
      if (row < pad_top_ || row >= end) {
        count = 1;
        for (int64_t block = channels.block - base; block < channels.block - base + channels.blocks; ++block)
          std::memset(y + ring_.block(block), 0, static_cast<size_t>(ring_.row()) * sizeof(float));
        continue;
      }
      count = std::min({rows.to, end, row + ring_rows_ - at}) - row;
      const float* x = run.slots[s.input.slot] + in_.at(n, 0, row - pad_top_, 0);
      expand_->Run({panel, panel + 1, count, x, y + ring_.before * kBlock, nullptr, nullptr, base});
    }
  }

  void ClearBorder(float* ring) const {
    for (int64_t row = 0; row < blocks_ * ring_rows_; ++row) {
      float* const y = ring + row * ring_.row();
      std::memset(y, 0, static_cast<size_t>(ring_.before * kBlock) * sizeof(float));
      std::memset(y + (ring_.before + ring_.shape.width) * kBlock, 0, static_cast<size_t>(ring_.after * kBlock) * sizeof(float));
    }
  }

  Layout in_, ring_, middle_;
  int64_t pad_top_, stride_, reach_ = 1;           // rows that a window reaches over
  int64_t groups_ = 1, lanes_ = 1;                 // of panels; of rows
  int64_t blocks_ = 1, step_ = 1, ring_rows_ = 1;  // of 16 expanded channels; rows that are made at a time; those they need
  std::unique_ptr<DenseRows> expand_, project_;    // project_: null where the depthwise convolution is the last
  std::unique_ptr<DepthwiseRows> depthwise_;
};

}  // namespace

std::unique_ptr<Step> MakeMergedConv(const MergedConvs& convs, int threads, Value output) {
  return std::make_unique<MergedConv>(convs, threads, output);
}

}  // namespace repfuse
