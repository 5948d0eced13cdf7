// Half-precision values: widened exactly, rounded to nearest with ties to even, without any instruction that the baseline lacks.
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
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;                            // zero, subnormal
  return sign != 0 ? -magnitude : magnitude;
}

inline uint32_t BitsOfFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = BitsOfFloat(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // a NaN whose upper half may be an infinity's
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline uint16_t FloatToF16(float value) {
  const uint32_t bits = BitsOfFloat(value), magnitude = bits & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const auto with_sign = [sign](uint32_t rest) { return static_cast<uint16_t>(sign | rest); };
  if (magnitude > 0x7f800000u) return with_sign(0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x47800000u) return with_sign(0x7c00u);  // 65536 and more
  if (magnitude >= 0x38800000u) return with_sign((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
  // Below 2^-14 a unit is 2^-24: adding 1/2, whose last bit that is, rounds there.
  return with_sign(BitsOfFloat(FloatFromBits(magnitude) + 0.5f) - 0x3f000000u);
}

// The float32 that tells a narrower type all about a float64: where it is not exact, the neighbour whose last bit is 1. What is rounded
// from it to at most 22 bits is what would have been rounded from `value` (Boldo and Melquiond, Emulation of FMA and correctly rounded
// sums, 2008).
inline float RoundToOdd(double value) {
  const float nearest = static_cast<float>(value);
  const double difference = value - static_cast<double>(nearest);
  const uint32_t bits = BitsOfFloat(nearest);
  // Exact; odd; or out of range, where the difference is infinite or no number.
  if (difference == 0 || (bits & 1u) != 0 || !(difference < 0x1p1023 && difference > -0x1p1023)) return nearest;
  if (nearest == 0) return FloatFromBits(value < 0 ? 0x80000001u : 1u);
  return FloatFromBits((difference > 0) == (nearest > 0) ? bits + 1 : bits - 1);
}

}  // namespace repfuse
