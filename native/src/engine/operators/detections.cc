// Lists of what was found, whose length the data tell: the result is as long as it can be, and -1 from the place on where the list ends.
#include <algorithm>
#include <vector>

#include "operator.h"
#include "repfuse/checked.h"

namespace repfuse {
namespace {

struct Box {
  float top, left, bottom, right;

  float area() const { return (bottom - top) * (right - left); }
};

Box BoxOf(const float* at, bool by_center) {
  if (by_center) return {at[1] - at[3] / 2, at[0] - at[2] / 2, at[1] + at[3] / 2, at[0] + at[2] / 2};
  return {std::min(at[0], at[2]), std::min(at[1], at[3]), std::max(at[0], at[2]), std::max(at[1], at[3])};
}

bool Overlaps(const Box& a, const Box& b, float share) {
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top), width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (height <= 0 || width <= 0 || a.area() <= 0 || b.area() <= 0) return false;
  const float both = height * width;
  return both / (a.area() + b.area() - both) > share;
}

// Boxes [images, boxes, 4] and scores [images, classes, boxes] to rows of image, class, box. Integers: the most boxes of a class, 1 where
// boxes are told by their centre and size. Alpha: the share of two boxes beyond which the lesser is dropped; beta: what a score exceeds.
Status SuppressResult(const NetworkNode& node, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape &boxes = inputs[0], &scores = inputs[1];
  if (node.ints.size() != 2 || node.ints[0] < 1) return Fails("the most boxes of a class");
  if (boxes.rank != 3 || scores.rank != 3 || boxes[2] != 4 || boxes[0] != scores[0] || boxes[1] != scores[2])
    return Fails("the shapes of boxes and scores");
  const Checked rows = Checked(scores[0]) * scores[1] * std::min(node.ints[0], boxes[1]);
  if (!rows.ok()) return Fails("the size of the result");
  *out = Shape::Of({rows.value(), 3});
  return Ok();
}

std::unique_ptr<Step> SuppressStep(const StepParts& parts) {
  const Value boxes = parts.inputs[0].value, scores = parts.inputs[1].value, output = parts.output.value;
  const Shape& shape = parts.inputs[1].shape;
  const int64_t images = shape[0], classes = shape[1], count = shape[2], most = std::min(parts.node.ints[0], count);
  const bool by_center = parts.node.ints[1] != 0;
  const float share = parts.node.alpha, least = parts.node.beta;
  return MakeStep(parts, "non-max suppression", [=](const RunState& run) {
    float* y = run.at(output);
    std::fill_n(y, images * classes * most * 3, -1.0f);
    std::vector<int64_t> order;
    std::vector<Box> kept;
    for (int64_t list = 0; list < images * classes && !Cancelled(); ++list) {
      const int64_t image = list / classes;
      const float *score = run.at(scores) + list * count, *box = run.at(boxes) + image * count * 4;
      order.clear();
      for (int64_t i = 0; i < count; ++i) {
        if (score[i] > least) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [score](int64_t a, int64_t b) { return score[a] > score[b]; });
      kept.clear();
      for (const int64_t i : order) {
        if (static_cast<int64_t>(kept.size()) == most) break;
        const Box each = BoxOf(box + i * 4, by_center);
        if (std::any_of(kept.begin(), kept.end(), [&](const Box& other) { return Overlaps(each, other, share); })) continue;
        kept.push_back(each);
        *y++ = static_cast<float>(image);
        *y++ = static_cast<float>(list % classes);
        *y++ = static_cast<float>(i);
      }
    }
  });
}

// Places of what is not 0, [axes, places].
Status NonZeroResult(const NetworkNode&, std::span<const Shape> inputs, ValueType, Shape* out) {
  const Shape& x = inputs[0];
  if (x.rank == 0) return Fails("the rank");
  *out = Shape::Of({x.rank, x.count()});
  return Ok();
}

std::unique_ptr<Step> NonZeroStep(const StepParts& parts) {
  const Value input = parts.inputs[0].value, output = parts.output.value;
  const Shape x = parts.inputs[0].shape;
  return MakeStep(parts, "non-zero", [=](const RunState& run) {
    const int64_t count = x.count();
    float* y = run.at(output);
    std::fill_n(y, x.rank * count, -1.0f);
    int64_t found = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (run.at(input)[i] == 0) continue;
      int64_t rest = i;
      for (int axis = x.rank - 1; axis >= 0; rest /= x[axis--]) y[axis * count + found] = static_cast<float>(rest % x[axis]);
      ++found;
    }
  });
}

}  // namespace

const Operator kNonMaxSuppression{"nonMaxSuppression", {2, 2}, ValueTypes::kTensors, SuppressResult, SuppressStep};
const Operator kNonZero{"nonZero", {1, 1}, ValueTypes::kTensors, NonZeroResult, NonZeroStep};

}  // namespace repfuse
