#include "tensor_shapes.h"

#include <algorithm>
#include <cmath>

namespace repfuse {
namespace {

Status Fails(const char* message) { return {Code::kInvalidArgument, message}; }

Shape ShapeOfInts(const std::vector<int64_t>& ints) {
  Shape shape;
  for (const int64_t dim : ints) {
    if (shape.rank < kMaxRank) shape[shape.rank++] = dim;
  }
  return shape;
}

bool IsConstantOf(const NetworkNode& node, const Shape& shape) {
  const Checked bytes = shape.checked_count() * static_cast<int64_t>(sizeof(float));
  return node.ints.size() <= kMaxRank && std::all_of(node.ints.begin(), node.ints.end(), [](int64_t dim) { return dim > 0; }) &&
         bytes.ok() && node.bias.bytes() == static_cast<size_t>(bytes.value());
}

// Images meet constants of one value for all or for each channel only.
bool IsOfChannels(const Shape& constant, const Shape& images) {
  for (int axis = 0; axis < constant.rank; ++axis) {
    if (constant[axis] != 1 && images.rank - constant.rank + axis != 1) return false;
  }
  return constant.rank <= images.rank;
}

Status ShapeOfBinary(const NetworkNode& node, const std::vector<Shape>& inputs, Form form, Shape* out) {
  Shape other = inputs.back();
  if (inputs.size() == 1) {
    other = ShapeOfInts(node.ints);
    if (!IsConstantOf(node, other)) return Fails("the size of a constant");
    if (form == Form::kImages && !IsOfChannels(other, inputs[0])) return Fails("the shape of a constant beside images");
  } else if (form == Form::kImages && inputs[0].rank != inputs[1].rank) {
    return Fails("the shapes of two images");
  }
  return Broadcast(inputs[0], other, out) ? Ok() : Fails("shapes that do not meet");
}

Status ShapeOfConcat(const NetworkNode& node, const std::vector<Shape>& inputs, Form form, Shape* out) {
  if (node.ints.size() != 1 || node.ints[0] < 0 || node.ints[0] >= inputs[0].rank || (form == Form::kImages && node.ints[0] != 1))
    return Fails("the axis");
  const int axis = static_cast<int>(node.ints[0]);
  for (size_t i = 1; i < inputs.size(); ++i) {
    Shape same = inputs[i];
    if (same.rank != out->rank) return Fails("the shapes of what is concatenated");
    (*out)[axis] += same[axis];
    same[axis] = inputs[0][axis];
    if (same != inputs[0]) return Fails("the shapes of what is concatenated");
  }
  return Ok();
}

Status ShapeOfReshape(const NetworkNode& node, const Shape& x, Shape* out) {
  if (node.ints.size() > kMaxRank) return Fails("the rank");
  *out = ShapeOfInts(node.ints);
  int rest = -1;
  for (int axis = 0; axis < out->rank; ++axis) {
    int64_t& size = (*out)[axis];
    if (size == 0 && axis < x.rank) size = x[axis];
    if (size != -1) continue;
    if (rest >= 0) return Fails("the sizes");
    rest = axis;
    size = 1;
  }
  const Checked known = out->checked_count();
  if (rest >= 0 && known.ok() && known.value() > 0) (*out)[rest] = x.count() / known.value();
  const Checked count = out->checked_count();
  return count.ok() && count.value() == x.count() ? Ok() : Fails("the sizes");
}

// Axes that appear or vanish.
Status ShapeOfUnitAxes(const NetworkNode& node, const Shape& x, Shape* out) {
  const auto named = [&](int64_t axis) { return std::count(node.ints.begin(), node.ints.end(), axis) == 1; };
  const int rank = node.kind == NodeKind::kUnsqueeze ? x.rank + static_cast<int>(node.ints.size()) : x.rank;
  if (rank > kMaxRank) return Fails("the rank");
  for (const int64_t axis : node.ints) {
    if (axis < 0 || axis >= rank || !named(axis)) return Fails("an axis");
    if (node.kind == NodeKind::kSqueeze && x[static_cast<int>(axis)] != 1) return Fails("an axis that is not 1");
  }
  *out = {};
  int next = 0;
  for (int axis = 0; axis < rank; ++axis) {
    if (node.kind == NodeKind::kUnsqueeze) (*out)[out->rank++] = named(axis) ? 1 : x[next++];
    else if (!named(axis)) (*out)[out->rank++] = x[axis];
  }
  return Ok();
}

Status ShapeOfMean(const NetworkNode& node, const Shape& x, Shape* out) {
  if (node.ints.empty()) return Fails("the axes");
  *out = {};
  for (size_t i = 1; i < node.ints.size(); ++i) {
    if (node.ints[i] < 0 || node.ints[i] >= x.rank) return Fails("an axis");
  }
  for (int axis = 0; axis < x.rank; ++axis) {
    const bool reduced = std::find(node.ints.begin() + 1, node.ints.end(), axis) != node.ints.end();
    if (!reduced) (*out)[out->rank++] = x[axis];
    else if (node.ints[0] != 0) (*out)[out->rank++] = 1;
  }
  return Ok();
}

// 1-D operands are a row and a column, and lose that axis in the result; axes before the last two are broadcast.
Status ShapeOfMatMul(Shape a, Shape b, Shape* out) {
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

// Whether sizes can be had of its numbers.
bool IsFinite(const ResizeOptions& o) {
  const auto finite = [](double value) { return std::isfinite(value); };
  return std::all_of(o.scales.begin(), o.scales.end(), finite) && std::all_of(o.crop.begin(), o.crop.end(), finite) && finite(o.cubic_a) &&
         finite(o.extrapolation);
}

// A whole number of pixels that is no size if there is none, or one beyond all bounds.
int64_t SizeOf(double pixels) { return pixels >= 1 ? static_cast<int64_t>(std::min(std::floor(pixels), 1e10)) : 0; }

Status ShapeOfResize(const ResizeOptions& options, const Shape& x, Shape* out) {
  // Bytes that the taps of a result may take.
  constexpr int64_t kMaxTaps = int64_t{32} << 20;
  if (!IsFinite(options)) return Fails("a number of the resizing");
  Checked taps = 0;
  for (int axis = 0; axis < 2; ++axis) {
    const ResizedAxis sizes = ResizedAxisOf(options, axis, x[2], x[3]);
    (*out)[2 + axis] = sizes.to;
    taps += Checked(sizes.to) * (MostTaps(options, sizes) * 16 + 8);
  }
  const Checked bytes = out->checked_count() * 4;
  return bytes.ok() && taps.AtMost((bytes + kMaxTaps).value()) ? Ok() : Status{Code::kTooLarge, "the taps of the resizing"};
}

Status ShapeOfPad(const NetworkNode& node, const Shape& x, Shape* out) {
  const size_t rank = static_cast<size_t>(x.rank);
  if (node.ints.size() != 2 * rank) return Fails("the paddings");
  for (int axis = 0; axis < x.rank; ++axis) {
    const int64_t before = node.ints[static_cast<size_t>(axis)], after = node.ints[rank + static_cast<size_t>(axis)];
    // Reflection goes to the other edge at most.
    const int64_t most = node.pad_mode == PadMode::kReflect ? x[axis] - 1 : int64_t{1} << 31;
    if (std::max(before, after) > most) return Fails("a padding larger than its input");
    (*out)[axis] = x[axis] + before + after;
    if ((*out)[axis] < 1) return Fails("a padding");
  }
  return Ok();
}

}  // namespace

bool Broadcast(const Shape& a, const Shape& b, Shape* out) {
  *out = {};
  out->rank = std::max(a.rank, b.rank);
  for (int axis = 0; axis < out->rank; ++axis) {
    const int in_a = axis - (out->rank - a.rank), in_b = axis - (out->rank - b.rank);
    const int64_t of_a = in_a < 0 ? 1 : a[in_a], of_b = in_b < 0 ? 1 : b[in_b];
    if (of_a != of_b && of_a != 1 && of_b != 1) return false;
    (*out)[axis] = of_a == 1 ? of_b : of_a;
  }
  return true;
}

SliceRange RangeOf(int64_t start, int64_t end, int64_t step, int64_t size) {
  const auto place = [&](int64_t index, int64_t low, int64_t high) { return std::clamp(index < 0 ? index + size : index, low, high); };
  if (step > 0) {
    start = place(start, 0, size);
    end = place(end, 0, size);
    return {start, step, std::max<int64_t>(0, (end - start + step - 1) / step)};
  }
  start = place(start, 0, size - 1);
  end = place(end, -1, size - 1);
  return {start, step, std::max<int64_t>(0, (start - end - step - 1) / -step)};
}

ResizeOptions ResizeLike(const ResizeOptions& options, const Shape* like) {
  ResizeOptions resize = options;
  if (like != nullptr) resize.sizes = {(*like)[2], (*like)[3]};
  return resize;
}

ResizedAxis ResizedAxisOf(const ResizeOptions& o, int axis, int64_t height, int64_t width) {
  const std::array<int64_t, 2> from{height, width};
  const size_t own = static_cast<size_t>(axis);
  if (o.sizes[own] == 0) {
    const double share = o.coordinates == ResizeCoordinates::kTfCropAndResize ? o.crop[own + 2] - o.crop[own] : 1;
    return {from[own], SizeOf(static_cast<double>(from[own]) * share * o.scales[own]), o.scales[own]};
  }
  double scale = static_cast<double>(o.sizes[own]) / static_cast<double>(from[own]);
  if (o.aspect == ResizeAspect::kStretch) return {from[own], o.sizes[own], scale};
  for (size_t i = 0; i < 2; ++i) {
    if (o.sizes[i] == 0) continue;
    const double other = static_cast<double>(o.sizes[i]) / static_cast<double>(from[i]);
    scale = o.aspect == ResizeAspect::kNotLarger ? std::min(scale, other) : std::max(scale, other);
  }
  return {from[own], SizeOf(scale * static_cast<double>(from[own]) + 0.5), scale};
}

double ResizeReach(const ResizeOptions& options, const ResizedAxis& sizes) {
  // Where an axis shrinks, antialiasing widens the filter.
  return (options.mode == ResizeMode::kLinear ? 1 : 2) / (options.antialias ? std::min(sizes.scale, 1.0) : 1);
}

int64_t MostTaps(const ResizeOptions& options, const ResizedAxis& sizes) {
  return options.mode == ResizeMode::kNearest ? 1 : SizeOf(2 * ResizeReach(options, sizes)) + 2;
}

Status ShapeOfTensor(const NetworkNode& node, const std::vector<Shape>& inputs, Form form, Shape* out) {
  if (node.kind == NodeKind::kConstant) {
    *out = ShapeOfInts(node.ints);
    return IsConstantOf(node, *out) ? Ok() : Fails("the size of a constant");
  }
  const Shape& x = inputs[0];
  *out = x;
  const auto axis = [&] { return node.ints.empty() ? 1 : node.ints[0] < 0 || node.ints[0] > x.rank ? -1 : static_cast<int>(node.ints[0]); };
  switch (node.kind) {
    case NodeKind::kActivation: return node.activation ? Ok() : Fails("the activation");
    case NodeKind::kBinary: return ShapeOfBinary(node, inputs, form, out);
    case NodeKind::kConcat: return ShapeOfConcat(node, inputs, form, out);
    case NodeKind::kResize:
      if (x.rank != 4 || inputs.back().rank != 4) return Fails("an input that is no image");
      return ShapeOfResize(ResizeLike(node.resize, inputs.size() > 1 ? &inputs[1] : nullptr), x, out);
    case NodeKind::kDepthToSpace:
      if (x.rank != 4 || node.ints.size() != 3 || node.ints[0] < 1 || node.ints[1] < 1 || x[1] % (node.ints[0] * node.ints[1]) != 0)
        return Fails("the blocks");
      *out = Shape::Of({x[0], x[1] / (node.ints[0] * node.ints[1]), x[2] * node.ints[0], x[3] * node.ints[1]});
      return Ok();
    case NodeKind::kFlatten:
      if (axis() < 0 || (form == Form::kImages && axis() != 1)) return Fails("the axis");
      *out = Shape::Of({x.count(0, axis()), x.count(axis(), x.rank)});
      return Ok();
    case NodeKind::kTranspose: {
      if (node.ints.size() != static_cast<size_t>(x.rank)) return Fails("the permutation");
      std::array<bool, kMaxRank> seen{};
      for (int i = 0; i < x.rank; ++i) {
        const int64_t from = node.ints[static_cast<size_t>(i)];
        if (from < 0 || from >= x.rank || seen[static_cast<size_t>(from)]) return Fails("the permutation");
        seen[static_cast<size_t>(from)] = true;
        (*out)[i] = x[static_cast<int>(from)];
      }
      return Ok();
    }
    case NodeKind::kSlice:
      if (node.ints.size() != 3 * static_cast<size_t>(x.rank)) return Fails("the slices");
      for (int i = 0; i < x.rank; ++i) {
        const int64_t* slice = node.ints.data() + 3 * i;
        if (slice[2] == 0) return Fails("the step of a slice");
        (*out)[i] = RangeOf(slice[0], slice[1], slice[2], x[i]).count;
      }
      return Ok();
    case NodeKind::kPad: return ShapeOfPad(node, x, out);
    case NodeKind::kReshape: return ShapeOfReshape(node, x, out);
    case NodeKind::kSqueeze:
    case NodeKind::kUnsqueeze: return ShapeOfUnitAxes(node, x, out);
    case NodeKind::kReduceMean: return ShapeOfMean(node, x, out);
    case NodeKind::kSoftmaxAxis: return node.ints.size() == 2 && axis() >= 0 && axis() < std::max(x.rank, 1) ? Ok() : Fails("the axis");
    case NodeKind::kMatMul: return ShapeOfMatMul(inputs[0], inputs[1], out);
    case NodeKind::kToTensor:
    case NodeKind::kToImages: return x.rank == 2 || x.rank == 4 ? Ok() : Fails("what is no image");
    default: return Fails("the kind of a node");
  }
}

}  // namespace repfuse
