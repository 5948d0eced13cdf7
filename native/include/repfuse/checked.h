// Size arithmetic that cannot wrap. Whatever is made of sizes from outside (a file, a caller) is reckoned by it before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace repfuse {

// A whole number, or the knowledge that it does not fit into 64 bits: then nothing that is made of it does.
class Checked {
 public:
  constexpr Checked(int64_t value) : value_(value) {}  // NOLINT: a size is one

  bool ok() const { return ok_; }
  // Only of one that is ok.
  int64_t value() const { return value_; }
  bool AtMost(int64_t limit) const { return ok_ && value_ <= limit; }

  Checked operator+(const Checked& other) const {
    Checked sum = *this;
    sum.ok_ = ok_ && other.ok_ && !__builtin_add_overflow(value_, other.value_, &sum.value_);
    return sum;
  }
  Checked operator-(const Checked& other) const {
    Checked rest = *this;
    rest.ok_ = ok_ && other.ok_ && !__builtin_sub_overflow(value_, other.value_, &rest.value_);
    return rest;
  }
  Checked operator*(const Checked& other) const {
    Checked product = *this;
    product.ok_ = ok_ && other.ok_ && !__builtin_mul_overflow(value_, other.value_, &product.value_);
    return product;
  }
  Checked& operator+=(const Checked& other) { return *this = *this + other; }
  Checked& operator*=(const Checked& other) { return *this = *this * other; }

 private:
  int64_t value_;
  bool ok_ = true;
};

// Product of non-negative factors; false when it does not fit (or a factor is negative).
inline bool CheckedProduct(std::initializer_list<int64_t> factors, int64_t* out) {
  Checked product = 1;
  for (const int64_t factor : factors) {
    if (factor < 0) return false;
    product *= factor;
  }
  if (product.ok()) *out = product.value();
  return product.ok();
}

}  // namespace repfuse
