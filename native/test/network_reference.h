// What a network makes of an input, in float64 and tap by tap: it shares neither layouts, shapes nor kernels with the engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string_view>
#include <vector>

#include "../src/engine/operators/activation.h"
#include "../src/engine/operators/operator.h"
#include "repfuse/engine.h"

namespace repfuse::reference {

using Wide = __int128;  // no size of a node overflows it

struct Values {
  std::vector<int64_t> shape;
  std::vector<double> data;

  int64_t size(size_t axis) const { return shape[axis]; }
  int64_t count() const {
    int64_t product = 1;
    for (const int64_t size : shape) product *= size;
    return product;
  }
};

// A node that has no result, or one that is too large to be worth computing.
struct Refused {};
struct TooLarge {};

class Evaluator {
 public:
  Evaluator(const Network& network, int64_t most) : network_(network), most_(most) {}

  // Every value. Throws Refused, or TooLarge beyond `most` elements.
  std::vector<Values> Run(Values input) {
    values_ = {std::move(input)};
    for (const NetworkNode& node : network_.nodes) values_.push_back(Of(node));
    return std::move(values_);
  }

 private:
  using Index = std::vector<int64_t>;

  // A result of that shape, its elements by `f` of their places.
  Values Make(const std::vector<Wide>& shape, const std::function<double(const Index&)>& f) const {
    Wide count = 1;
    Values result;
    for (const Wide size : shape) {
      if (size < 1) throw Refused();
      if (size > most_ || (count *= size) > most_) throw TooLarge();
      result.shape.push_back(static_cast<int64_t>(size));
    }
    Index at(shape.size());
    for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
      int64_t rest = i;
      for (size_t axis = shape.size(); axis-- > 0; rest /= result.shape[axis]) at[axis] = rest % result.shape[axis];
      result.data.push_back(f(at));
    }
    return result;
  }
  static std::vector<Wide> Sizes(const Values& x) { return {x.shape.begin(), x.shape.end()}; }
  // Null outside.
  static const double* Find(const Values& x, const std::vector<Wide>& at) {
    int64_t offset = 0;
    for (size_t axis = 0; axis < at.size(); ++axis) {
      if (at[axis] < 0 || at[axis] >= x.shape[axis]) return nullptr;
      offset = offset * x.shape[axis] + static_cast<int64_t>(at[axis]);
    }
    return &x.data[static_cast<size_t>(offset)];
  }
  static double At(const Values& x, const std::vector<Wide>& at) {
    const double* found = Find(x, at);
    if (found == nullptr) throw Refused();
    return *found;
  }
  static Wide Windows(Wide size, Wide reach, Wide stride, Wide before, Wide after, bool ceil) {
    const Wide free = size + before + after - reach + (ceil ? stride - 1 : 0);
    if (free < 0) return 0;
    Wide count = free / stride + 1;
    if (ceil && (count - 1) * stride >= size + before) --count;
    return count;
  }
  static double Activated(const NetworkNode& node, double v) {
    if (!node.activation) return v;
    const std::string_view name = node.activation->name;
    if (name == "relu") return std::max(v, 0.0);
    if (name == "sigmoid") return 1 / (1 + std::exp(-v));
    if (name == "silu") return v / (1 + std::exp(-v));
    if (name == "hardswish") return v * std::clamp(v + 3, 0.0, 6.0) / 6;
    if (name == "clip") return std::min<double>(std::max<double>(v, node.alpha), node.beta);
    if (name == "leakyRelu") return v < 0 ? v * node.alpha : v;
    if (name == "hardSigmoid") return std::clamp(v * node.alpha + node.beta, 0.0, 1.0);
    if (name == "tanh") return std::tanh(v);
    return v;
  }

  Values Conv(const NetworkNode& n, const Values& x) const {
    const Wide oh = Windows(x.size(2), Wide(n.dilation_h) * (n.kernel_h - 1) + 1, n.stride_h, n.pad_top, n.pad_bottom, false);
    const Wide ow = Windows(x.size(3), Wide(n.dilation_w) * (n.kernel_w - 1) + 1, n.stride_w, n.pad_left, n.pad_right, false);
    const int64_t in = x.size(1) / n.groups, out = n.out_channels / n.groups;
    return Make({x.size(0), n.out_channels, oh, ow}, [&](const Index& at) {
      double sum = n.bias.bytes() == 0 ? 0 : n.bias.as<float>()[at[1]];
      for (int64_t c = 0; c < in; ++c) {
        for (int64_t i = 0; i < n.kernel_h; ++i) {
          for (int64_t j = 0; j < n.kernel_w; ++j) {
            const double* pixel = Find(x, {at[0], at[1] / out * in + c, Wide(at[2]) * n.stride_h - n.pad_top + Wide(i) * n.dilation_h,
                                           Wide(at[3]) * n.stride_w - n.pad_left + Wide(j) * n.dilation_w});
            if (pixel != nullptr) sum += *pixel * n.weight.as<float>()[((at[1] * in + c) * n.kernel_h + i) * n.kernel_w + j];
          }
        }
      }
      if (n.inputs.size() > 1) sum += At(values_[static_cast<size_t>(n.inputs[1])], {at.begin(), at.end()});
      return Activated(n, sum);
    });
  }

  // Windows may be far larger than the map: goes over the map's pixels instead, and asks which are of the window.
  Values Pool(const NetworkNode& n, const Values& x) const {
    const Wide reach_h = Wide(n.kernel_h - 1) * n.dilation_h + 1, reach_w = Wide(n.kernel_w - 1) * n.dilation_w + 1;
    const Wide oh = Windows(x.size(2), reach_h, n.stride_h, n.pad_top, n.pad_bottom, n.ceil_mode);
    const Wide ow = Windows(x.size(3), reach_w, n.stride_w, n.pad_left, n.pad_right, n.ceil_mode);
    if (n.pad_top < 0 || n.pad_left < 0 || n.pad_bottom < 0 || n.pad_right < 0) throw Refused();
    const auto is_of = [](Wide pixel, Wide first, Wide kernel, Wide dilation) {
      return pixel >= first && (pixel - first) % dilation == 0 && (pixel - first) / dilation < kernel;
    };
    const auto counted = [](Wide first, Wide kernel, Wide dilation, Wide end) {
      return first >= end ? Wide(0) : std::min(kernel, (end - first + dilation - 1) / dilation);
    };
    return Make({x.size(0), x.size(1), oh, ow}, [&](const Index& at) {
      const Wide top = Wide(at[2]) * n.stride_h - n.pad_top, left = Wide(at[3]) * n.stride_w - n.pad_left;
      double most = -INFINITY, sum = 0, inside = 0;
      for (int64_t y = 0; y < x.size(2); ++y) {
        for (int64_t c = 0; c < x.size(3); ++c) {
          if (!is_of(y, top, n.kernel_h, n.dilation_h) || !is_of(c, left, n.kernel_w, n.dilation_w)) continue;
          const double value = At(x, {at[0], at[1], y, c});
          most = std::max(most, value);
          sum += value;
          ++inside;
        }
      }
      if (n.op == FindOperator("maxPool")) return most;
      const Wide padded = counted(top, n.kernel_h, n.dilation_h, Wide(x.size(2)) + n.pad_bottom) *
                          counted(left, n.kernel_w, n.dilation_w, Wide(x.size(3)) + n.pad_right);
      return sum / (n.count_include_pad ? static_cast<double>(padded) : inside);
    });
  }

  // The mean of whole maps, or over axes.
  Values Mean(const Values& x, const std::vector<bool>& reduced, bool keep) const {
    std::vector<Wide> shape;
    Wide terms = 1;
    for (size_t axis = 0; axis < x.shape.size(); ++axis) {
      if (reduced[axis]) terms *= x.shape[axis];
      if (!reduced[axis] || keep) shape.push_back(reduced[axis] ? 1 : x.shape[axis]);
    }
    Values result = Make(shape, [](const Index&) { return 0.0; });
    Values all = Make(Sizes(x), [&](const Index& at) {
      int64_t offset = 0;
      for (size_t axis = 0; axis < at.size(); ++axis) {
        if (!reduced[axis]) offset = offset * x.shape[axis] + at[axis];
      }
      result.data[static_cast<size_t>(offset)] += At(x, {at.begin(), at.end()}) / static_cast<double>(terms);
      return 0.0;
    });
    return result;
  }

  Values Softmax(const Values& x, size_t first, size_t end) const {
    return Make(Sizes(x), [&](const Index& at) {
      double largest = -INFINITY, sum = 0;
      for (const bool adds : {false, true}) {
        Make({x.shape.begin() + static_cast<int64_t>(first), x.shape.begin() + static_cast<int64_t>(end)}, [&](const Index& over) {
          std::vector<Wide> place(at.begin(), at.end());
          std::copy(over.begin(), over.end(), place.begin() + static_cast<int64_t>(first));
          if (adds) sum += std::exp(At(x, place) - largest);
          else largest = std::max(largest, At(x, place));
          return 0.0;
        });
      }
      return std::exp(At(x, {at.begin(), at.end()}) - largest) / sum;
    });
  }

  Values Binary(const NetworkNode& n, const Values& a, const Values& b) const {
    const size_t rank = std::max(a.shape.size(), b.shape.size());
    std::vector<Wide> shape(rank);
    const auto size_of = [&](const Values& x, size_t axis) {
      return axis + x.shape.size() < rank ? 1 : x.shape[axis + x.shape.size() - rank];
    };
    for (size_t axis = 0; axis < rank; ++axis) {
      const int64_t one = size_of(a, axis), other = size_of(b, axis);
      if (one != other && one != 1 && other != 1) throw Refused();
      shape[axis] = one == 1 ? other : one;
    }
    const auto place = [&](const Values& x, const Index& at) {
      std::vector<Wide> own;
      for (size_t axis = rank - x.shape.size(); axis < rank; ++axis) own.push_back(size_of(x, axis) == 1 ? 0 : at[axis]);
      return At(x, own);
    };
    const auto is = [&](const char* name) { return n.function == FindBinaryFunction(name); };
    const bool add = is("add"), sub = is("sub"), mul = is("mul"), div = is("div");
    return Make(shape, [&](const Index& at) {
      const double left = place(a, at), right = place(b, at);
      if (add) return left + right;
      if (sub) return left - right;
      if (mul) return left * right;
      if (div) return left / right;
      return left < 0 ? left * right : left;
    });
  }

  // Nearest (floor, asymmetric), and linear (half pixel).
  Values Resize(const NetworkNode& n, const Values& x) const {
    Wide to[2];
    double scale[2];
    for (size_t i = 0; i < 2; ++i) {
      const double from = static_cast<double>(x.size(2 + i));
      scale[i] = n.resize.sizes[i] == 0 ? n.resize.scales[i] : static_cast<double>(n.resize.sizes[i]) / from;
      const double size = n.resize.sizes[i] == 0 ? std::floor(from * scale[i]) : static_cast<double>(n.resize.sizes[i]);
      to[i] = static_cast<Wide>(std::min(size, 1e18));
    }
    return Make({x.size(0), x.size(1), to[0], to[1]}, [&](const Index& at) {
      double sum = 0;
      if (n.resize.mode == ResizeMode::kNearest) {
        const auto nearest = [&](size_t i) {
          return std::clamp<Wide>(static_cast<Wide>(std::floor(static_cast<double>(at[2 + i]) / scale[i])), 0, x.size(2 + i) - 1);
        };
        return At(x, {at[0], at[1], nearest(0), nearest(1)});
      }
      for (const int dy : {0, 1}) {
        for (const int dx : {0, 1}) {
          double weight = 1;
          std::vector<Wide> place{at[0], at[1]};
          for (size_t i = 0; i < 2; ++i) {
            const double center = (static_cast<double>(at[2 + i]) + 0.5) / scale[i] - 0.5, low = std::floor(center);
            weight *= (i == 0 ? dy : dx) == 1 ? center - low : 1 - (center - low);
            place.push_back(std::clamp<Wide>(static_cast<Wide>(low) + (i == 0 ? dy : dx), 0, x.size(2 + i) - 1));
          }
          sum += weight * At(x, place);
        }
      }
      return sum;
    });
  }

  Values Pad(const NetworkNode& n, const Values& x) const {
    std::vector<Wide> shape = Sizes(x);
    const size_t rank = shape.size();
    for (size_t axis = 0; axis < rank; ++axis) {
      if (n.pad_mode == PadMode::kReflect && std::max(n.ints[axis], n.ints[rank + axis]) > x.shape[axis] - 1) throw Refused();
      shape[axis] += Wide(n.ints[axis]) + n.ints[rank + axis];
    }
    return Make(shape, [&](const Index& at) {
      std::vector<Wide> from;
      for (size_t axis = 0; axis < rank; ++axis) {
        const Wide size = x.shape[axis], index = Wide(at[axis]) - n.ints[axis];
        if (index >= 0 && index < size) from.push_back(index);
        else if (n.pad_mode == PadMode::kEdge) from.push_back(index < 0 ? 0 : size - 1);
        else if (n.pad_mode == PadMode::kWrap) from.push_back((index % size + size) % size);
        else if (n.pad_mode == PadMode::kReflect) from.push_back(index < 0 ? -index : 2 * (size - 1) - index);
        else return static_cast<double>(n.pad_value);
      }
      return At(x, from);
    });
  }

  Values Slice(const NetworkNode& n, const Values& x) const {
    std::vector<Wide> first, shape;
    for (size_t axis = 0; axis < x.shape.size(); ++axis) {
      const Wide size = x.shape[axis], step = n.ints[3 * axis + 2];
      const auto place = [&](Wide index, Wide low, Wide high) { return std::clamp(index < 0 ? index + size : index, low, high); };
      const Wide start = place(n.ints[3 * axis], 0, step > 0 ? size : size - 1),
                 end = step > 0 ? place(n.ints[3 * axis + 1], 0, size) : place(n.ints[3 * axis + 1], -1, size - 1);
      Wide count = 0;  // one by one: as numpy counts
      for (Wide at = start; step > 0 ? at < end : at > end; at += step) ++count;
      first.push_back(start);
      shape.push_back(count);
    }
    return Make(shape, [&](const Index& at) {
      std::vector<Wide> from;
      for (size_t axis = 0; axis < at.size(); ++axis) from.push_back(first[axis] + Wide(at[axis]) * n.ints[3 * axis + 2]);
      return At(x, from);
    });
  }

  // Elements in their order, in another shape.
  Values As(const Values& x, const std::vector<Wide>& shape) const {
    size_t next = 0;
    Wide count = 1;
    for (const Wide size : shape) count *= size;
    if (count != x.count()) throw Refused();
    return Make(shape, [&](const Index&) { return x.data[next++]; });
  }

  Values Of(const NetworkNode& n) const {
    const Values none, &x = n.inputs.empty() ? none : values_[static_cast<size_t>(n.inputs[0])];
    const std::string_view op = n.op->name;
    if (op == "conv") return Conv(n, x);
    if (op == "maxPool" || op == "averagePool") return Pool(n, x);
    if (op == "globalAveragePool") return Mean(x, {false, false, true, true}, true);
    if (op == "linear")
      return Make({x.size(0), n.out_channels}, [&](const Index& at) {
        double sum = n.bias.bytes() == 0 ? 0 : n.bias.as<float>()[at[1]];
        for (int64_t i = 0; i < x.size(1); ++i) sum += At(x, {at[0], i}) * n.weight.as<float>()[at[1] * x.size(1) + i];
        return sum;
      });
    if (op == "gate")
      return Make(Sizes(x), [&](const Index& at) {
        return At(x, {at.begin(), at.end()}) * At(values_[static_cast<size_t>(n.inputs[1])], {at[0], at[1], 0, 0});
      });
    if (op == "frame")
      return Make({x.size(0), x.size(1), Wide(x.size(2)) + n.pad_top + n.pad_bottom, Wide(x.size(3)) + n.pad_left + n.pad_right},
                  [&](const Index& at) {
                    const double* pixel = Find(x, {at[0], at[1], Wide(at[2]) - n.pad_top, Wide(at[3]) - n.pad_left});
                    return pixel != nullptr ? *pixel : n.bias.bytes() == 0 ? 0.0 : static_cast<double>(n.bias.as<float>()[at[1]]);
                  });
    if (op == "softmax") return Softmax(x, 1, 2);
    if (op == "softmaxAxis")
      return Softmax(x, static_cast<size_t>(n.ints[0]), n.ints[1] != 0 ? x.shape.size() : static_cast<size_t>(n.ints[0]) + 1);
    if (op == "add")
      return Make(Sizes(x), [&](const Index& at) {
        const std::vector<Wide> place(at.begin(), at.end());
        return Activated(n, At(x, place) + At(values_[static_cast<size_t>(n.inputs[1])], place));
      });
    if (op == "activation") return Make(Sizes(x), [&](const Index& at) { return Activated(n, At(x, {at.begin(), at.end()})); });
    if (op == "binary") {
      if (n.inputs.size() > 1) return Binary(n, x, values_[static_cast<size_t>(n.inputs[1])]);
      const Values constant{n.ints, {n.bias.as<float>(), n.bias.as<float>() + n.bias.bytes() / sizeof(float)}};
      return n.constant_first ? Binary(n, constant, x) : Binary(n, x, constant);
    }
    if (op == "concat") {
      const size_t axis = static_cast<size_t>(n.ints[0]);
      std::vector<Wide> shape = Sizes(x);
      for (size_t i = 1; i < n.inputs.size(); ++i) shape[axis] += values_[static_cast<size_t>(n.inputs[i])].shape[axis];
      return Make(shape, [&](const Index& at) {
        std::vector<Wide> place(at.begin(), at.end());
        for (const int input : n.inputs) {
          const Values& part = values_[static_cast<size_t>(input)];
          if (place[axis] < part.shape[axis]) return At(part, place);
          place[axis] -= part.shape[axis];
        }
        throw Refused();
      });
    }
    if (op == "resize") return Resize(n, x);
    if (op == "depthToSpace") {
      const int64_t h = n.ints[0], w = n.ints[1];
      if (Wide(x.size(1)) % (Wide(h) * w) != 0) throw Refused();
      const Wide channels = x.size(1) / (Wide(h) * w);
      return Make({x.size(0), channels, Wide(x.size(2)) * h, Wide(x.size(3)) * w}, [&](const Index& at) {
        const Wide block = Wide(at[2] % h) * w + at[3] % w;
        return At(x, {at[0], n.ints[2] != 0 ? at[1] * Wide(h) * w + block : block * channels + at[1], at[2] / h, at[3] / w});
      });
    }
    if (op == "flatten") {
      std::vector<Wide> shape{1, 1};
      for (size_t axis = 0; axis < x.shape.size(); ++axis)
        shape[axis < static_cast<size_t>(n.ints.empty() ? 1 : n.ints[0]) ? 0 : 1] *= x.shape[axis];
      return As(x, shape);
    }
    if (op == "constant") return {n.ints, {n.bias.as<float>(), n.bias.as<float>() + n.bias.bytes() / sizeof(float)}};
    if (op == "transpose") {
      std::vector<Wide> shape;
      for (const int64_t axis : n.ints) shape.push_back(x.shape[static_cast<size_t>(axis)]);
      return Make(shape, [&](const Index& at) {
        std::vector<Wide> from(at.size());
        for (size_t axis = 0; axis < at.size(); ++axis) from[static_cast<size_t>(n.ints[axis])] = at[axis];
        return At(x, from);
      });
    }
    if (op == "slice") return Slice(n, x);
    if (op == "pad") return Pad(n, x);
    if (op == "reshape") {
      std::vector<Wide> shape(n.ints.begin(), n.ints.end());
      Wide known = 1;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        if (shape[axis] == 0) shape[axis] = axis < x.shape.size() ? x.shape[axis] : 0;
        if (shape[axis] == -1) continue;
        if (shape[axis] < 1 || (known *= shape[axis]) > most_) throw Refused();
      }
      for (Wide& size : shape) size = size == -1 ? x.count() / known : size;
      return As(x, shape);
    }
    if (op == "squeeze") {
      std::vector<Wide> shape;
      for (size_t axis = 0; axis < x.shape.size(); ++axis) {
        if (std::count(n.ints.begin(), n.ints.end(), static_cast<int64_t>(axis)) == 0) shape.push_back(x.shape[axis]);
      }
      return As(x, shape);
    }
    if (op == "unsqueeze") {
      std::vector<Wide> shape;
      for (size_t axis = 0, next = 0; axis < x.shape.size() + n.ints.size(); ++axis) {
        shape.push_back(std::count(n.ints.begin(), n.ints.end(), static_cast<int64_t>(axis)) != 0 ? 1 : x.shape[next++]);
      }
      return As(x, shape);
    }
    if (op == "reduce" && n.reduction == FindReduction("mean")) {
      std::vector<bool> reduced(x.shape.size());
      for (size_t i = 1; i < n.ints.size(); ++i) reduced[static_cast<size_t>(n.ints[i])] = true;
      return Mean(x, reduced, n.ints[0] != 0);
    }
    if (op == "matMul") {  // of equal ranks from 2 on
      const Values& y = values_[static_cast<size_t>(n.inputs[1])];
      const size_t rank = x.shape.size();
      std::vector<Wide> shape = Sizes(x);
      if (x.shape[rank - 1] != y.shape[rank - 2]) throw Refused();
      shape[rank - 1] = y.shape[rank - 1];
      return Make(shape, [&](const Index& at) {
        double sum = 0;
        for (int64_t k = 0; k < x.shape[rank - 1]; ++k) {
          std::vector<Wide> left(at.begin(), at.end()), right = left;
          left[rank - 1] = right[rank - 2] = k;
          sum += At(x, left) * At(y, right);
        }
        return sum;
      });
    }
    if (op == "toTensor" || op == "toImages") return x;
    throw Refused();
  }

  const Network& network_;
  int64_t most_;
  std::vector<Values> values_;
};

}  // namespace repfuse::reference
