// What the tests of the engine have in common.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "one_input.h"
#include "repfuse/engine.h"

namespace repfuse {

inline std::vector<float> RandomFloats(size_t count, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(engine);
  return values;
}

inline AlignedBuffer BufferOf(const std::vector<float>& values) {
  AlignedBuffer buffer;
  EXPECT_TRUE(buffer.Allocate(values.size() * sizeof(float)));
  std::memcpy(buffer.data(), values.data(), values.size() * sizeof(float));
  return buffer;
}

inline std::vector<float> RunNetwork(Network network, const EngineOptions& options, const ImageShape& input, const std::vector<float>& x,
                                     int threads) {
  std::shared_ptr<Engine> engine;
  EXPECT_TRUE(Engine::Create(std::move(network), options, &engine).ok());
  std::vector<Shape> outputs;
  const Status inferred = engine->OutputShapes(ShapesOf(input), &outputs);
  EXPECT_TRUE(inferred.ok()) << inferred.message;
  if (!inferred.ok()) return {};
  std::vector<float> y(static_cast<size_t>(outputs[0].count()), NAN);
  const std::span<float> results[] = {y};
  // Twice: what the first run leaves in the activations must not matter.
  for (int round = 0; round < 2; ++round) {
    const Status status = engine->Run(ShapesOf(input), InputsOf(x), results, threads);
    EXPECT_TRUE(status.ok()) << status.message;
  }
  return y;
}

}  // namespace repfuse
