// One layer after the other in oneDNN 2 (Debian: libdnnl-dev), as benchmarks/models/layers.cjs asks for them on standard input: the numbers
// of a shape, then rounds of it. A line of answer for each: the implementation's name, or the seconds of the fastest run of a round.
//   shape IN OUT SIZE KERNEL STRIDE GROUPS
//   round MILLISECONDS
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using dnnl::memory;
using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

// A convolution with ReLU, its operands in the layouts that oneDNN likes best.
class Layer {
 public:
  Layer(const dnnl::engine& engine, const memory::dims& shape) : stream_(engine) {
    const auto in = shape[0], out = shape[1], size = shape[2], kernel = shape[3], stride = shape[4], groups = shape[5];
    const auto pad = kernel / 2, out_size = (size - 1) / stride + 1, after = (out_size - 1) * stride + kernel - size - pad;
    const auto any = [](const memory::dims& dims) { return memory::desc(dims, memory::data_type::f32, memory::format_tag::any); };
    memory::dims filter = {out / groups, in / groups, kernel, kernel};
    if (groups > 1) filter.insert(filter.begin(), groups);
    const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                                               any({1, in, size, size}), any(filter), any({out}), any({1, out, out_size, out_size}),
                                               {stride, stride}, {pad, pad}, {after, after});
    dnnl::post_ops relu;
    relu.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(relu);
    const dnnl::convolution_forward::primitive_desc chosen(desc, attributes, engine);
    name_ = chosen.impl_info_str();
    convolution_ = dnnl::convolution_forward(chosen);
    const auto row_major = groups > 1 ? memory::format_tag::goihw : memory::format_tag::oihw;
    plain_ = Filled(memory::desc({1, in, size, size}, memory::data_type::f32, memory::format_tag::nchw), engine);
    source_ = memory(chosen.src_desc(), engine);
    memory weights(chosen.weights_desc(), engine);
    memory plain_weights = Filled(memory::desc(filter, memory::data_type::f32, row_major), engine);
    dnnl::reorder(plain_weights, weights).execute(stream_, plain_weights, weights);
    enter_ = dnnl::reorder(plain_, source_);
    arguments_ = {{DNNL_ARG_SRC, source_},
                  {DNNL_ARG_WEIGHTS, weights},
                  {DNNL_ARG_BIAS, Filled(chosen.bias_desc(), engine)},
                  {DNNL_ARG_DST, memory(chosen.dst_desc(), engine)}};
    stream_.wait();
  }

  const std::string& name() const { return name_; }

  // Of the fastest run within some time. Its input has just been written, as by the layer before it.
  double Fastest(double milliseconds) {
    double least = 1;
    const auto started = Clock::now();
    while (Seconds(started) < milliseconds / 1e3) {
      enter_.execute(stream_, plain_, source_);
      stream_.wait();
      const auto before = Clock::now();
      convolution_.execute(stream_, arguments_);
      stream_.wait();
      least = std::min(least, Seconds(before));
    }
    return least;
  }

 private:
  static memory Filled(const memory::desc& desc, const dnnl::engine& engine) {
    memory filled(desc, engine);
    auto* values = static_cast<float*>(filled.get_data_handle());
    for (size_t i = 0; i < desc.get_size() / sizeof(float); ++i) values[i] = static_cast<float>(i * 7919 % 101) / 101.0f - 0.5f;
    return filled;
  }

  dnnl::stream stream_;
  dnnl::convolution_forward convolution_;
  dnnl::reorder enter_;
  memory plain_, source_;
  std::unordered_map<int, memory> arguments_;
  std::string name_;
};

}  // namespace

int main() {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  std::unique_ptr<Layer> layer;
  for (std::string request; std::cin >> request;) {
    if (request == "shape") {
      memory::dims shape(6);
      for (auto& size : shape) std::cin >> size;
      layer = std::make_unique<Layer>(engine, shape);
      std::cout << layer->name() << std::endl;
    } else {
      double milliseconds = 0;
      std::cin >> milliseconds;
      std::cout << layer->Fastest(milliseconds) << std::endl;
    }
  }
}
