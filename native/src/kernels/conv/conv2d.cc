// Chooses how to convolve, and drives the packed product: blocks of output pixels, each (im2col panels -> tiles of output channels).
#include "repfuse/conv.h"

#include <algorithm>

#include "../depthwise/depthwise.h"
#include "../gemm/gemm.h"
#include "im2col.h"
#include "repfuse/aligned_buffer.h"
#include "repfuse/checked.h"
#include "repfuse/kernels.h"
#include "repfuse/linear.h"
#include "repfuse/parallel.h"

namespace repfuse {
namespace {

constexpr int64_t kBlockPanels = 4;  // panels packed together: neighbours share input rows and the weights in L1
constexpr int64_t kPackedRows = 16;  // rows packed into one panel before its neighbours take the same channels

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One convolution by im2col and the packed product. An index of its loop is a block of panels of one image and group, times a part of
// the output channels; a reduction is never split between indices.
class GemmConv {
 public:
  GemmConv(const ConvShape& shape, int threads)
      : s_(shape),
        kernel_(Kernels().gemm),
        threads_(threads),
        in_per_group_(s_.in_channels / s_.groups),
        out_per_group_(s_.out_channels / s_.groups),
        taps_(s_.kernel_h * s_.kernel_w),
        k_total_(in_per_group_ * taps_),
        pixels_(s_.out_height() * s_.out_width()),
        panels_(DivideUp(pixels_, kernel_.columns)),
        tiles_(DivideUp(out_per_group_, kernel_.rows)),
        panel_size_(std::min(kernel_.k_block, k_total_) * kernel_.columns) {
    // Small maps make small blocks, and are also split by output channels, so that every thread has work.
    block_panels_ = std::clamp<int64_t>(s_.batch * s_.groups * panels_ / (2 * threads), 1, kBlockPanels);
    blocks_ = DivideUp(panels_, block_panels_);
    const int64_t tasks = s_.batch * s_.groups * blocks_;
    part_tiles_ = DivideUp(tiles_, std::clamp<int64_t>(DivideUp(2 * threads, tasks), 1, tiles_));
    parts_ = DivideUp(tiles_, part_tiles_);
  }

  Status Run(const float* x, const float* weight, const float* bias, bool relu, float* y) {
    const int64_t packers = threads_ * block_panels_;
    if (!scratch_.Allocate(static_cast<size_t>(packers * panel_size_) * sizeof(float))) return {Code::kOutOfMemory, "im2col panels"};
    packers_.reserve(static_cast<size_t>(packers));
    for (int64_t i = 0; i < packers; ++i) packers_.emplace_back(s_, Kernels());
    ParallelFor(s_.batch * s_.groups * blocks_ * parts_, threads_, [&](int64_t index, int slot) {
      const int64_t part = index % parts_, block = index / parts_ % blocks_, group = index / parts_ / blocks_ % s_.groups;
      const int64_t n = index / parts_ / blocks_ / s_.groups, first_channel = group * out_per_group_;
      RunBlock({.x = x + (n * s_.in_channels + group * in_per_group_) * s_.height * s_.width,
                .weight = weight + first_channel * k_total_,
                .bias = bias == nullptr ? nullptr : bias + first_channel,
                .y = y + (n * s_.out_channels + first_channel) * pixels_,
                .relu = relu,
                .first_panel = block * block_panels_,
                .first_tile = part * part_tiles_},
               slot);
    });
    return Ok();
  }

 private:
  // Operands of one image and group.
  struct Block {
    const float *x, *weight, *bias;
    float* y;
    bool relu;
    int64_t first_panel, first_tile;
  };

  int ColumnsIn(int64_t panel) const { return static_cast<int>(std::min<int64_t>(kernel_.columns, pixels_ - panel * kernel_.columns)); }

  void RunBlock(const Block& b, int slot) {
    const int64_t count = std::min(block_panels_, panels_ - b.first_panel), last_tile = std::min(tiles_, b.first_tile + part_tiles_);
    PanelPacker* packers = packers_.data() + slot * block_panels_;
    float* packed = scratch_.as<float>() + slot * block_panels_ * panel_size_;
    for (int64_t p = 0; p < count; ++p) packers[p].SetPixels((b.first_panel + p) * kernel_.columns, ColumnsIn(b.first_panel + p));
    for (int64_t k = 0; k < k_total_; k += kernel_.k_block) {
      const int64_t k_end = std::min(k_total_, k + kernel_.k_block);
      PackRows(b.x, k, k_end, packers, count, packed);
      for (int64_t tile = b.first_tile; tile < last_tile; ++tile) {
        const int64_t first_row = tile * kernel_.rows;
        for (int64_t p = 0; p < count; ++p) {
          kernel_.run({.k = k_end - k,
                       .a = b.weight + first_row * k_total_ + k,
                       .lda = k_total_,
                       .b = packed + p * panel_size_,
                       .c = b.y + first_row * pixels_ + (b.first_panel + p) * kernel_.columns,
                       .ldc = pixels_,
                       .rows = static_cast<int>(std::min<int64_t>(kernel_.rows, out_per_group_ - first_row)),
                       .columns = ColumnsIn(b.first_panel + p),
                       .accumulate = k > 0,
                       .bias = b.bias == nullptr ? nullptr : b.bias + first_row,
                       .relu = b.relu && k_end == k_total_});
        }
      }
    }
  }

  // Channel by channel rather than panel by panel: neighbouring panels read the same input rows, which are then still in L1.
  void PackRows(const float* x, int64_t k_begin, int64_t k_end, const PanelPacker* packers, int64_t count, float* packed) const {
    for (int64_t k = k_begin; k < k_end;) {
      const int64_t next = std::min(k_end, (k / taps_ + DivideUp(kPackedRows, taps_)) * taps_);
      for (int64_t p = 0; p < count; ++p) packers[p].Pack(x, k, next, packed + p * panel_size_ + (k - k_begin) * kernel_.columns);
      k = next;
    }
  }

  const ConvShape s_;
  const GemmKernel& kernel_;
  const int threads_;
  const int64_t in_per_group_, out_per_group_, taps_, k_total_, pixels_, panels_, tiles_, panel_size_;
  int64_t block_panels_, blocks_, part_tiles_, parts_;
  AlignedBuffer scratch_;
  std::vector<PanelPacker> packers_;
};

// Columns of a kernel, and columns of a depthwise one times those of its result, up to which the other methods' tables (of what each column
// of the kernel reads) are small beside the values.
constexpr int64_t kMaxColumns = 1 << 10, kMaxDepthwiseColumns = int64_t{1} << 24;

bool IsWide(const ConvShape& s) {
  return s.in_channels == s.groups ? s.kernel_w > kMaxDepthwiseColumns / s.out_width() : s.kernel_w > kMaxColumns;
}

// The plain definition, pixel by pixel, in float64: for kernels of any width.
void PlainConv2d(const ConvShape& s, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const int64_t in_per_group = s.in_channels / s.groups, out_per_group = s.out_channels / s.groups, out_h = s.out_height(),
                out_w = s.out_width();
  ParallelFor(s.batch * s.out_channels * out_h, threads, [&](int64_t index, int) {
    const int64_t oy = index % out_h, o = index / out_h % s.out_channels, n = index / out_h / s.out_channels;
    const OutputRange rows(s.kernel_h, s.height, s.dilation_h, oy * s.stride_h - s.pad_top);
    for (int64_t ox = 0; ox < out_w; ++ox) {
      const int64_t left = ox * s.stride_w - s.pad_left;
      const OutputRange columns(s.kernel_w, s.width, s.dilation_w, left);
      double sum = bias == nullptr ? 0.0 : bias[o];
      for (int64_t i = 0; i < in_per_group; ++i) {
        const float* channel = x + (n * s.in_channels + o / out_per_group * in_per_group + i) * s.height * s.width;
        for (int64_t u = rows.begin; u < rows.end; ++u) {
          const float* row = channel + (oy * s.stride_h - s.pad_top + u * s.dilation_h) * s.width;
          const float* w = weight + ((o * in_per_group + i) * s.kernel_h + u) * s.kernel_w;
          for (int64_t v = columns.begin; v < columns.end; ++v) sum += static_cast<double>(w[v]) * row[left + v * s.dilation_w];
        }
      }
      const float value = static_cast<float>(sum);
      y[index * out_w + ox] = relu && value < 0.0f ? 0.0f : value;
    }
  });
}

// A kernel that covers the whole map once is a fully connected layer.
bool IsLinear(const ConvShape& s) {
  return s.groups == 1 && s.kernel_h == s.height && s.kernel_w == s.width && s.pad_top == 0 && s.pad_left == 0 && s.out_height() == 1 &&
         s.out_width() == 1;
}

}  // namespace

Status CheckConvShape(const ConvShape& s) {
  constexpr int64_t kMax = int64_t{1} << 31;
  for (int64_t dim : {s.batch, s.in_channels, s.height, s.width, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
                      s.dilation_h, s.dilation_w, s.groups}) {
    if (dim < 1 || dim > kMax) return {Code::kInvalidArgument, "a size of the convolution"};
  }
  for (int64_t pad : {s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) {
    if (pad < -kMax || pad > kMax) return {Code::kInvalidArgument, "padding"};
  }
  int64_t size, reach_h, reach_w;
  const int64_t rows = s.height + std::max<int64_t>(s.pad_top, 0) + std::max<int64_t>(s.pad_bottom, 0);
  if (s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) return {Code::kInvalidArgument, "groups"};
  if (!CheckedProduct({s.dilation_h, s.kernel_h}, &reach_h) || !CheckedProduct({s.dilation_w, s.kernel_w}, &reach_w) ||
      s.out_height() < 1 || s.out_width() < 1) {
    return {Code::kInvalidArgument, "the kernel does not fit the padded input"};
  }
  if (!CheckedProduct({s.batch, s.in_channels, s.height, s.width, 4}, &size) ||
      !CheckedProduct({rows, s.width, 64}, &size) ||  // places in the padding are reckoned with, though never read
      !CheckedProduct({s.out_channels, s.in_channels / s.groups, s.kernel_h, s.kernel_w, 64}, &size) ||
      !CheckedProduct({s.batch, s.out_channels, s.out_height(), s.out_width(), 4}, &size)) {
    return {Code::kInvalidArgument, "element count"};
  }
  return Ok();
}

Status Conv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias, bool relu, float* y, int threads) {
  const Status checked = CheckConvShape(shape);
  if (!checked.ok()) return checked;
  const bool depthwise = shape.in_channels == shape.groups, linear = !depthwise && IsLinear(shape);
  if (!linear && IsWide(shape)) {
    PlainConv2d(shape, x, weight, bias, relu, y, threads);
    return Ok();
  }
  if (depthwise) {
    DepthwiseConv2d(shape, x, weight, bias, relu, y, threads);
    return Ok();
  }
  if (linear) {
    const int64_t features = shape.in_channels * shape.height * shape.width;
    return Linear({.rows = shape.batch, .in_features = features, .out_features = shape.out_channels}, x, weight, bias, relu, y, threads);
  }
  return GemmConv(shape, threads).Run(x, weight, bias, relu, y);
}

}  // namespace repfuse
