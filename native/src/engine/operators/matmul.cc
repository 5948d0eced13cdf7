// Products of matrices, in batches; and of the rows of a tensor and a constant matrix, which is packed once.
#include "../../kernels/gemm/gemm.h"

#include <algorithm>
#include <vector>

#include "../walk.h"
#include "operator.h"

namespace repfuse {
namespace {

// 1-D operands are a row and a column, and lose that axis in the result; axes before the last two are broadcast.
Status Result(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const bool by_constant = inputs.size() == 1;
  if (by_constant && (node.ints.size() != 2 || !IsConstantOf(node, ShapeOfInts(node)))) return Fails("the size of a constant");
  Shape a = inputs[0], b = by_constant ? ShapeOfInts(node) : inputs[1];
  const bool row = a.rank == 1, column = b.rank == 1;
  if (a.rank == 0 || b.rank == 0) return Fails("the rank of a factor");
  if (row) a = Shape::Of({1, a[0]});
  if (column) b = Shape::Of({b[0], 1});
  if (a[a.rank - 1] != b[b.rank - 2]) return Fails("the sizes of the factors");
  const int64_t rows = a[a.rank - 2], columns = b[b.rank - 1];
  for (Shape* batch : {&a, &b}) {
    (*batch)[batch->rank - 1] = (*batch)[batch->rank - 2] = 0;
    batch->rank -= 2;
  }
  if (!Broadcast(a, b, out) || out->rank + 2 > kMaxRank) return Fails("the batches of the factors");
  if (!row) (*out)[out->rank++] = rows;
  if (!column) (*out)[out->rank++] = columns;
  return Ok();
}

// Of a factor's matrices, from one to the next along the axes of the result's batch.
Strides BatchStrides(Shape factor, bool vector, const Shape& batch, int64_t size) {
  factor.rank = vector ? 0 : factor.rank - 2;
  Strides strides = BroadcastStrides(factor, batch);
  for (int64_t& stride : strides) stride *= size;
  return strides;
}

// The packed product, one panel of the second factor at a time.
std::unique_ptr<Step> BatchStep(const StepParts& parts) {
  const Value left = parts.inputs[0].value, right = parts.inputs[1].value, output = parts.output.value;
  const Shape &a_shape = parts.inputs[0].shape, &b_shape = parts.inputs[1].shape;
  const GemmKernel kernel = parts.kernels.gemm;
  const bool row = a_shape.rank == 1, column = b_shape.rank == 1;
  const int64_t all_depth = a_shape[a_shape.rank - 1], rows = row ? 1 : a_shape[a_shape.rank - 2],
                all_columns = column ? 1 : b_shape[b_shape.rank - 1];
  Shape batch = parts.output.shape;
  batch.rank -= (row ? 0 : 1) + (column ? 0 : 1);
  for (int axis = batch.rank; axis < kMaxRank; ++axis) batch[axis] = 0;
  const Strides a_strides = BatchStrides(a_shape, row, batch, rows * all_depth);
  const Strides b_strides = BatchStrides(b_shape, column, batch, all_depth * all_columns);
  const auto run_all = [=](const RunState& run) {
    const int64_t panels = (all_columns + kernel.columns - 1) / kernel.columns;
    ForEach(batch.count() * panels, run.threads, [&](int64_t index, int slot) {
      const int64_t image = index / panels, first = index % panels * kernel.columns,
                    columns = std::min<int64_t>(kernel.columns, all_columns - first);
      int64_t a_at = 0, b_at = 0, rest = image;
      for (int axis = batch.rank - 1; axis >= 0; rest /= batch[axis--]) {
        a_at += rest % batch[axis] * a_strides[static_cast<size_t>(axis)];
        b_at += rest % batch[axis] * b_strides[static_cast<size_t>(axis)];
      }
      const float *a = run.at(left) + a_at, *b = run.at(right) + b_at;
      float* packed = run.workspace + slot * run.workspace_size;
      for (int64_t k = 0; k < all_depth; k += kernel.k_block) {
        const int64_t depth = std::min(kernel.k_block, all_depth - k);
        for (int64_t i = 0; i < depth; ++i) std::copy_n(b + (k + i) * all_columns + first, columns, packed + i * kernel.columns);
        for (int64_t r = 0; r < rows; r += kernel.rows) {
          kernel.run({.k = depth,
                      .a = a + r * all_depth + k,
                      .lda = all_depth,
                      .b = packed,
                      .c = run.at(output) + (image * rows + r) * all_columns + first,
                      .ldc = all_columns,
                      .rows = static_cast<int>(std::min<int64_t>(kernel.rows, rows - r)),
                      .columns = static_cast<int>(columns),
                      .accumulate = k > 0,
                      .bias = nullptr,
                      .relu = false});
        }
      }
    });
  };
  return MakeStep(parts, std::string("matmul ") + kernel.name, run_all, std::min(kernel.k_block, all_depth) * kernel.columns);
}

// A constant matrix in panels of the kernel's columns, [panel][depth][columns].
std::vector<float> Packed(const float* matrix, int64_t depth, int64_t all_columns, int64_t columns) {
  const int64_t panels = (all_columns + columns - 1) / columns;
  std::vector<float> packed(static_cast<size_t>(panels * depth * columns), 0.0f);
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t first = panel * columns, count = std::min(columns, all_columns - first);
    for (int64_t k = 0; k < depth; ++k) std::copy_n(matrix + k * all_columns + first, count, packed.data() + (panel * depth + k) * columns);
  }
  return packed;
}

constexpr int64_t kRowsOfTask = 48;  // stay in a core's cache while the panels pass

std::unique_ptr<Step> ConstantStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Shape& x = parts.inputs[0].shape;
  const GemmKernel kernel = parts.kernels.gemm;
  const int64_t all_depth = x[x.rank - 1], rows = x.count(0, x.rank - 1), all_columns = parts.node.ints[1];
  std::vector<float> packed = Packed(parts.node.bias.as<float>(), all_depth, all_columns, kernel.columns);
  const auto run_all = [=, packed = std::move(packed)](const RunState& run) {
    const int64_t panels = (all_columns + kernel.columns - 1) / kernel.columns, tasks = (rows + kRowsOfTask - 1) / kRowsOfTask;
    ForEach(tasks * panels, run.threads, [&](int64_t index, int) {
      const int64_t begin = index / panels * kRowsOfTask, end = std::min(rows, begin + kRowsOfTask);
      const int64_t panel = index % panels, first = panel * kernel.columns;
      for (int64_t k = 0; k < all_depth; k += kernel.k_block) {
        for (int64_t row = begin; row < end; row += kernel.rows) {
          kernel.run({.k = std::min(kernel.k_block, all_depth - k),
                      .a = run.at(input) + row * all_depth + k,
                      .lda = all_depth,
                      .b = packed.data() + (panel * all_depth + k) * kernel.columns,
                      .c = run.at(output) + row * all_columns + first,
                      .ldc = all_columns,
                      .rows = static_cast<int>(std::min<int64_t>(kernel.rows, end - row)),
                      .columns = static_cast<int>(std::min<int64_t>(kernel.columns, all_columns - first)),
                      .accumulate = k > 0,
                      .bias = nullptr,
                      .relu = false});
        }
      }
    });
  };
  return MakeStep(parts, std::string("matmul ") + kernel.name, run_all);
}

std::unique_ptr<Step> MatMulStep(const StepParts& parts) { return parts.inputs.size() == 1 ? ConstantStep(parts) : BatchStep(parts); }

}  // namespace

const Operator kMatMul{"matMul", {1, 2}, ValueTypes::kTensors, Result, MatMulStep};

}  // namespace repfuse
