#include "../half/half.h"
#include "terms.h"

namespace repfuse {
namespace {

void Split(float x, uint16_t* y, int64_t term, int terms) {
  for (int t = 0; t < terms; ++t, y += term) {
    *y = FloatToBf16(x);
    x -= Bf16ToFloat(*y);
  }
}

}  // namespace

void SplitRowScalar(const TermRow& row, int terms) {
  for (int64_t pixel = 0; pixel < row.pixels; ++pixel) {
    for (int64_t c = 0; c < 16; ++c) Split(row.x[pixel * 16 + c], row.y + pixel * row.pitch + c, row.term, terms);
  }
}

void SplitPlanesScalar(const TermPlanes& row, int terms) {
  for (int64_t pixel = 0; pixel < row.pixels; ++pixel) {
    for (int c = 0; c < 4; ++c) Split(row.planes[c] == nullptr ? 0.0f : row.planes[c][pixel], row.y + pixel * 4 + c, row.term, terms);
  }
}

}  // namespace repfuse
