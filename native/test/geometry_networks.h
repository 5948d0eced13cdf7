// Seeded networks whose geometry is of the odd kind: maps of one pixel, batches, strides, paddings and dilations at every limit.
#pragma once

#include <random>
#include <utility>

#include "network_support.h"

namespace repfuse {

struct GeometryCase {
  Network network;
  ImageShape input;
  EngineOptions options;
  std::string text;  // of the nodes, for messages
};

class GeometryGenerator {
 public:
  explicit GeometryGenerator(uint32_t seed) : random_(seed) {}

  GeometryCase Make() {
    GeometryCase result;
    result.input = {Pick({1, 1, 2, 3, 5, 17}), Pick({1, 2, 3, 4, 8, 16, 17, 32, 33, 48}), Pick({1, 1, 1, 2, 3, 4, 7, 13}),
                    Pick({1, 1, 1, 2, 3, 5, 9, 16})};
    const ImageShape& x = result.input;
    values_ = {{{x.batch, x.channels, x.height, x.width}, true}};
    network_ = {};
    network_.inputs = {{ValueType::kImages, x.channels}};
    text_ = "[" + std::to_string(x.batch) + " " + std::to_string(x.channels) + " " + std::to_string(x.height) + " " +
            std::to_string(x.width) + "]";
    const int64_t nodes = Pick({1, 1, 2, 2, 3, 4, 5});
    for (int64_t i = 0; i < nodes && !lost_; ++i) AddNode();
    network_.outputs = {static_cast<int>(network_.nodes.size())};
    if (Pick({0, 0, 1}) == 1) network_.outputs.push_back(static_cast<int>(Below(static_cast<int64_t>(network_.nodes.size()) + 1)));
    result.options.algorithm = static_cast<Algorithm>(Below(6));
    result.options.precision = static_cast<Precision>(Pick({0, 0, 0, 1, 2}));
    result.options.batch_invariant = Pick({0, 1}) == 1;
    result.network = std::move(network_);
    result.text = std::move(text_);
    return result;
  }

 private:
  static constexpr int64_t kHuge = (int64_t{1} << 31) - 1, kBig = 1 << 16;

  struct Known {
    std::vector<int64_t> shape;  // as far as it can be told
    bool images;
  };
  struct Axis {
    int64_t kernel, stride, before, after, dilation;
  };

  int64_t Below(int64_t end) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(end)); }
  int64_t Pick(std::initializer_list<int64_t> values) { return values.begin()[random_() % values.size()]; }

  // Windows along an axis; most have few results, the rest is to be refused.
  Axis PickAxis(int64_t size, std::initializer_list<int64_t> kernels, int64_t most) {
    Axis a{};
    for (int attempt = 0; attempt < 40; ++attempt) {
      a.kernel = Pick(kernels);
      a.dilation = Pick({1, 1, 1, 2, a.kernel, size, size + 1, kBig, kHuge});
      const int64_t reach = a.kernel > kHuge / a.dilation ? kHuge : (a.kernel - 1) * a.dilation + 1;
      const auto pad = [&] {
        return Pick({0, 0, 1, a.kernel / 2, a.kernel - 1, a.kernel, size, reach / 2, reach - 1, reach, kBig, kHuge});
      };
      a.before = std::min(pad(), kHuge);
      a.after = Pick({0, 1}) == 0 ? a.before : std::min(pad(), kHuge);
      a.stride = Pick({1, 1, 2, 3, size, size + 1, std::max<int64_t>(a.before, 1), kBig, kHuge, kHuge + 1});
      const int64_t windows = Windows(a, size);
      if (windows >= 1 && windows <= most && a.kernel <= kHuge / a.dilation) return a;
      if (Below(200) == 0) return a;
    }
    return {1, 1, 0, 0, 1};
  }
  static int64_t Windows(const Axis& a, int64_t size) {
    const int64_t free = size + a.before + a.after - (a.kernel - 1) * a.dilation - 1;
    return free < 0 ? 0 : free / a.stride + 1;
  }

  NetworkNode& Add(const char* op, std::vector<int> inputs, const std::string& text) {
    NetworkNode& node = network_.nodes.emplace_back();
    node.op = FindOperator(op);
    node.name = text;
    text_ += " " + text + "(";
    for (const int input : inputs) text_ += std::to_string(input) + ",";
    text_ += ")";
    node.inputs = std::move(inputs);
    return node;
  }
  void Made(std::vector<int64_t> shape, bool images) {
    int64_t count = 1;
    for (const int64_t size : shape) {
      if (size < 1 || size > kMax || (count *= size) > kMax) lost_ = true;  // refused, or not worth going on
    }
    values_.push_back({std::move(shape), images});
  }
  void Say(std::initializer_list<int64_t> numbers) {
    for (const int64_t number : numbers) text_ += " " + std::to_string(number);
  }

  // A value of images or tensors, the last one most often; -1 where there is none.
  int Find(bool images, size_t rank) {
    std::vector<int> found;
    for (size_t i = 0; i < values_.size(); ++i) {
      if (values_[i].images == images && (rank == 0 || values_[i].shape.size() == rank)) found.push_back(static_cast<int>(i));
    }
    if (found.empty()) return -1;
    return Pick({0, 1, 2}) == 0 ? found[static_cast<size_t>(Below(static_cast<int64_t>(found.size())))] : found.back();
  }
  const std::vector<int64_t>& ShapeAt(int value) const { return values_[static_cast<size_t>(value)].shape; }

  void SetWindow(NetworkNode& node, const Axis& down, const Axis& across) {
    node.kernel_h = down.kernel, node.kernel_w = across.kernel, node.stride_h = down.stride, node.stride_w = across.stride;
    node.dilation_h = down.dilation, node.dilation_w = across.dilation;
    node.pad_top = down.before, node.pad_bottom = down.after, node.pad_left = across.before, node.pad_right = across.after;
    for (const Axis& a : {down, across}) Say({a.kernel, a.stride, a.before, a.after, a.dilation});
  }
  AlignedBuffer Weights(int64_t count, int64_t terms) {
    std::vector<float> values = RandomFloats(static_cast<size_t>(count), random_);
    for (float& value : values) value /= std::sqrt(static_cast<float>(terms));
    return BufferOf(values);
  }
  void MaybeActivate(NetworkNode& node) {
    switch (Below(8)) {
      case 0: node.activation = FindActivation("relu"); break;
      case 1: node.activation = FindActivation("silu"); break;
      case 2:
        node.activation = FindActivation("clip");
        node.alpha = -1, node.beta = 2;
        break;
      default: break;
    }
  }

  void AddConv(int input) {
    const std::vector<int64_t> x = ShapeAt(input);
    const int64_t most = Pick({1, 2, 5, 20});
    const Axis down = PickAxis(x[2], {1, 1, 2, 3, 3, 5}, most), across = PickAxis(x[3], {1, 1, 2, 3, 3, 7}, most);
    int64_t groups = 1, out = Pick({1, 3, 8, 16, 17, 32, 48});
    switch (Below(4)) {
      case 0: groups = out = x[1]; break;
      case 1:
        for (const int64_t divisor : {2, 3, 4, 8}) {
          if (x[1] % divisor == 0 && Pick({0, 1}) == 1) groups = divisor;
        }
        out = groups * Pick({1, 2, 8, 16});
        break;
      default: break;
    }
    NetworkNode& node = Add("conv", {input}, "conv");
    SetWindow(node, down, across);
    Say({out, groups});
    node.out_channels = out;
    node.groups = groups;
    node.weight = Weights(out * (x[1] / groups) * down.kernel * across.kernel, x[1] / groups * down.kernel * across.kernel);
    if (Pick({0, 1, 1}) == 1) node.bias = BufferOf(RandomFloats(static_cast<size_t>(out), random_));
    MaybeActivate(node);
    const std::vector<int64_t> made{x[0], out, Windows(down, x[2]), Windows(across, x[3])};
    for (size_t i = 0; i < values_.size(); ++i) {
      if (!values_[i].images || values_[i].shape != made || Pick({0, 1}) == 1) continue;
      node.inputs.push_back(static_cast<int>(i));
      text_ += " + " + std::to_string(i);
      break;
    }
    Made(made, true);
  }

  void AddPool(int input) {
    const std::vector<int64_t> x = ShapeAt(input);
    const bool mean = Pick({0, 1}) == 1;
    NetworkNode& node = Add(mean ? "averagePool" : "maxPool", {input}, mean ? "mean" : "max");
    const auto kernels = [&](int64_t size) { return PickAxis(size, {1, 2, 3, 3, size, size + 1, kBig, kHuge}, 9); };
    const Axis down = kernels(x[2]), across = kernels(x[3]);
    SetWindow(node, down, across);
    node.count_include_pad = Pick({0, 1}) == 1;
    node.ceil_mode = Pick({0, 0, 1}) == 1;
    if (node.ceil_mode) lost_ = true;  // its size is the reference's business
    Made({x[0], x[1], Windows(down, x[2]), Windows(across, x[3])}, true);
  }

  void AddFrame(int input) {
    const std::vector<int64_t> x = ShapeAt(input);
    NetworkNode& node = Add("frame", {input}, "frame");
    const auto side = [&](int64_t size) { return Pick({0, 0, 1, 3, -1, 1 - size, -size, size, -kHuge, kHuge}); };
    node.pad_top = side(x[2]), node.pad_bottom = side(x[2]), node.pad_left = side(x[3]), node.pad_right = side(x[3]);
    if (Pick({0, 1}) == 1) node.pad_bottom = -node.pad_top + Pick({0, -1, 1}), node.pad_right = -node.pad_left + Pick({0, -1, 1});
    if (Pick({0, 1}) == 1) node.pad_left = node.pad_top, node.pad_right = node.pad_bottom;  // may be the border of its map
    Say({node.pad_top, node.pad_left, node.pad_bottom, node.pad_right});
    if (Pick({0, 1}) == 1) node.bias = BufferOf(RandomFloats(static_cast<size_t>(x[1]), random_));
    Made({x[0], x[1], x[2] + node.pad_top + node.pad_bottom, x[3] + node.pad_left + node.pad_right}, true);
  }

  void AddResize(int input) {
    const Known x = values_[static_cast<size_t>(input)];
    NetworkNode& node = Add("resize", {input}, "resize");
    node.resize.mode = Pick({0, 1}) == 1 ? ResizeMode::kLinear : ResizeMode::kNearest;
    node.resize.coordinates = node.resize.mode == ResizeMode::kLinear ? ResizeCoordinates::kHalfPixel : ResizeCoordinates::kAsymmetric;
    node.resize.nearest = ResizeNearest::kFloor;
    std::vector<int64_t> shape = x.shape;
    for (size_t i = 0; i < 2; ++i) {
      if (Pick({0, 1}) == 1) {
        node.resize.sizes[i] = Pick({1, 2, 3, 9, kBig, kHuge});
        shape[2 + i] = node.resize.sizes[i];
      } else {
        const double scales[] = {0.5, 1, 2, 3, 0.25, 1e-30, 1e9, 1e30, 1e300};
        node.resize.scales[i] = scales[Below(9)];
        const double size = std::floor(static_cast<double>(shape[2 + i]) * node.resize.scales[i]);
        shape[2 + i] = static_cast<int64_t>(std::min(size, 1e12));
      }
      Say({node.resize.sizes[i], static_cast<int64_t>(std::min(node.resize.scales[i] * 100, 1e15))});
    }
    Made(shape, x.images);
  }

  void AddTensorOp(int input) {
    const std::vector<int64_t> x = ShapeAt(input);
    const size_t rank = x.size();
    std::vector<int64_t> shape = x;
    switch (Below(8)) {
      case 0: {
        NetworkNode& node = Add("slice", {input}, "slice");
        for (size_t axis = 0; axis < rank; ++axis) {
          const int64_t step = Pick({1, 1, 2, -1, -2, kHuge, -kHuge});
          node.ints.insert(node.ints.end(), {Pick({0, 1, -1, x[axis], -kHuge, kHuge}), Pick({x[axis], -1, 1, kHuge, -kHuge}), step});
        }
        for (const int64_t number : node.ints) Say({number});
        lost_ = true;
        break;
      }
      case 1: {
        NetworkNode& node = Add("pad", {input}, "pad");
        node.pad_mode = static_cast<PadMode>(Below(4));
        node.pad_value = 0.5f;
        for (size_t i = 0; i < 2 * rank; ++i) node.ints.push_back(Pick({0, 0, 0, 1, 2, -1, x[i % rank], Below(20) == 0 ? kHuge : 0}));
        for (size_t axis = 0; axis < rank; ++axis) shape[axis] += node.ints[axis] + node.ints[rank + axis];
        Say({static_cast<int64_t>(node.pad_mode)});
        for (const int64_t number : node.ints) Say({number});
        break;
      }
      case 2: {
        NetworkNode& node = Add("transpose", {input}, "transpose");
        for (size_t axis = 0; axis < rank; ++axis) node.ints.push_back(static_cast<int64_t>(axis));
        std::shuffle(node.ints.begin(), node.ints.end(), random_);
        for (size_t axis = 0; axis < rank; ++axis) shape[axis] = x[static_cast<size_t>(node.ints[axis])];
        break;
      }
      case 3: {
        NetworkNode& node = Add("reshape", {input}, "reshape");
        node.ints = Pick({0, 1}) == 1
                        ? std::vector<int64_t>{0, -1}
                        : std::vector<int64_t>{Pick({1, 2, kBig, kHuge}), Pick({-1, kHuge}), Pick({1, kHuge}), Pick({1, kHuge})};
        for (const int64_t number : node.ints) Say({number});
        lost_ = true;
        break;
      }
      case 4: {
        NetworkNode& node = Add("reduce", {input}, "reduce");
        node.reduction = FindReduction("mean");
        const int64_t axis = Below(static_cast<int64_t>(rank));
        node.ints = {1, axis};
        shape[static_cast<size_t>(axis)] = 1;
        break;
      }
      case 5: {
        const int64_t axis = Below(static_cast<int64_t>(rank));
        Add("softmaxAxis", {input}, "softmax").ints = {axis, Below(2)};
        break;
      }
      case 6: {
        if (rank + 1 > 8) return;
        Add("unsqueeze", {input}, "unsqueeze").ints = {static_cast<int64_t>(rank)};
        shape.push_back(1);
        break;
      }
      default: {
        NetworkNode& node = Add("binary", {input}, "spread");
        for (size_t axis = 0; axis < rank; ++axis) node.ints.push_back(Pick({1, 1, x[axis], x[axis] == 1 ? 3 : 1}));
        int64_t count = 1;
        for (size_t axis = 0; axis < rank; ++axis) {
          count *= node.ints[axis];
          shape[axis] = std::max(x[axis], node.ints[axis]);
        }
        constexpr const char* kFunctions[] = {"add", "sub", "mul"};
        node.function = FindBinaryFunction(kFunctions[Below(3)]);
        node.constant_first = Pick({0, 1}) == 1;
        node.bias = BufferOf(RandomFloats(static_cast<size_t>(std::min(count, kMax)), random_));
      }
    }
    Made(shape, false);
  }

  void AddPlain(int input) {
    const std::vector<int64_t> x = ShapeAt(input);
    switch (Below(8)) {
      case 0: Add("globalAveragePool", {input}, "global"); return Made({x[0], x[1], 1, 1}, true);
      case 1: {
        int gate = -1;
        for (size_t i = 0; i < values_.size(); ++i) {
          if (values_[i].images && values_[i].shape == std::vector<int64_t>{x[0], x[1], 1, 1}) gate = static_cast<int>(i);
        }
        if (gate < 0) return AddConv(input);
        Add("gate", {input, gate}, "gate");
        return Made(x, true);
      }
      case 2: {
        NetworkNode& node = Add("add", {input, input}, "add");
        MaybeActivate(node);
        return Made(x, true);
      }
      case 3: {
        std::vector<int> inputs{input};
        for (size_t i = 0; i < values_.size(); ++i) {
          const std::vector<int64_t>& other = values_[i].shape;
          if (values_[i].images && other.size() == 4 && other[0] == x[0] && other[2] == x[2] && other[3] == x[3])
            inputs.push_back(static_cast<int>(i));
        }
        std::vector<int64_t> shape = x;
        for (size_t i = 1; i < inputs.size(); ++i) shape[1] += ShapeAt(inputs[i])[1];
        Add("concat", inputs, "concat").ints = {1};
        return Made(shape, true);
      }
      case 4: {
        const int64_t block = Pick({1, 2, 4}), across = Pick({1, 2, kBig, kHuge});
        Add("depthToSpace", {input}, "spread blocks").ints = {block, across, Below(2)};
        Say({block, across});
        return Made({x[0], x[1] % (block * across) == 0 ? x[1] / (block * across) : 0, x[2] * block, x[3] * across}, true);
      }
      case 5: {
        const int64_t features = x[1] * x[2] * x[3];
        Add("flatten", {input}, "flatten").ints = {1};
        Made({x[0], features}, true);
        if (features > 2000) return;
        const int64_t out = Pick({1, 16, 20});
        NetworkNode& node = Add("linear", {static_cast<int>(values_.size()) - 1}, "linear");
        node.out_channels = out;
        node.weight = Weights(out * features, features);
        return Made({x[0], out}, true);
      }
      case 6: Add("softmax", {input}, "softmax"); return Made(x, true);
      default: Add("toTensor", {input}, "tensor"); return Made(x, false);
    }
  }

  void AddNode() {
    const int tensor = Find(false, 0);
    if (tensor >= 0 && Pick({0, 1, 1}) == 1) {
      if (ShapeAt(tensor).size() == 4 && Pick({0, 1, 2, 3}) == 0) {
        Add("toImages", {tensor}, "images");
        return Made(ShapeAt(tensor), true);
      }
      return ShapeAt(tensor).size() == 4 && Pick({0, 1, 2, 3, 4}) == 0 ? AddResize(tensor) : AddTensorOp(tensor);
    }
    const int images = Find(true, 4);
    switch (Below(10)) {
      case 0: return AddPool(images);
      case 1: return AddFrame(images);
      case 2: return AddResize(images);
      case 3:
      case 4:
      case 5: return AddPlain(images);
      default: return AddConv(images);
    }
  }

  static constexpr int64_t kMax = 1 << 18;  // elements of a value that others are made of

  std::mt19937 random_;
  Network network_;
  std::vector<Known> values_;
  std::string text_;
  bool lost_ = false;  // the shape of the last value is not known
};

}  // namespace repfuse
