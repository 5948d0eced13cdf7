// Half-precision values, widened exactly, without any instruction that the baseline lacks.
#pragma once

#include <cstdint>
#include <cstring>

namespace repfuse {

inline float FloatFromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float Bf16ToFloat(uint16_t bits) { return FloatFromBits(static_cast<uint32_t>(bits) << 16); }

inline float F16ToFloat(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return FloatFromBits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinity, NaN
  if (rest >= 0x0400u) return FloatFromBits(sign | ((rest << 13) + (112u << 23)));        // exponent bias 15 -> 127
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;                           // zero, subnormal
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace repfuse
