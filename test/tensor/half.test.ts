import { decodeBF16, decodeF16, encodeHalf, toFloat32, toFloat64 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';

const view = new DataView(new ArrayBuffer(4));

/** The float32 with these bits. */
function float32(bits: number): number {
  view.setUint32(0, bits);
  return view.getFloat32(0);
}

/** Half precision to float32 by moving bits: a path independent of the arithmetic one under test. */
function widenF16(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  let exponent = (bits >> 10) & 0x1f;
  let fraction = bits & 0x3ff;
  if (exponent === 0x1f) return float32((sign | 0x7f800000 | (fraction << 13)) >>> 0);
  if (exponent === 0 && fraction === 0) return float32(sign >>> 0);
  if (exponent === 0) {
    exponent = 1;
    while ((fraction & 0x400) === 0) {
      fraction <<= 1;
      exponent--;
    }
    fraction &= 0x3ff;
  }
  return float32((sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0);
}

test('known values (S05)', () => {
  expect(decodeF16(0x0001)).toBe(2 ** -24);
  expect(Math.fround(5.9604645e-8)).toBe(decodeF16(0x0001));
  expect(decodeF16(0x8000)).toBe(-0);
  expect(decodeF16(0x7c00)).toBe(Number.POSITIVE_INFINITY);
  expect(decodeF16(0xfc00)).toBe(Number.NEGATIVE_INFINITY);
  expect(decodeF16(0x7e00)).toBeNaN();
  expect(decodeF16(0x7bff)).toBe(65504);
  expect(decodeF16(0x03ff)).toBe(1023 * 2 ** -24);
  expect(decodeBF16(0x3f80)).toBe(1);
  expect(decodeBF16(0x0001)).toBe(Math.fround(9.1835e-41));
  expect(decodeBF16(0x8000)).toBe(-0);
  expect(decodeBF16(0xff80)).toBe(Number.NEGATIVE_INFINITY);
  expect(decodeBF16(0x7fc0)).toBeNaN();
});

test('every bit pattern of both types', () => {
  const bits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
  const f16 = toFloat32(new Tensor('F16', [bits.length], bits));
  const bf16 = toFloat32(new Tensor('BF16', [bits.length], bits));
  let wrong = 0;
  for (let i = 0; i < bits.length; i++) {
    if (!Object.is(f16[i], widenF16(i))) wrong++;
    if (!Object.is(bf16[i], float32((i << 16) >>> 0))) wrong++;
  }
  expect(wrong).toBe(0);
});

test('float32 is handed out as it is, float64 rounds, integers are refused', () => {
  const data = Float32Array.of(1, 2);
  expect(toFloat32(Tensor.f32([2], data))).toBe(data);
  expect(toFloat32(new Tensor('F64', [1], Float64Array.of(0.1)))).toEqual(Float32Array.of(0.1));
  expect(toFloat64(Tensor.f32([1], [0.5]))).toEqual(Float64Array.of(0.5));
  const doubles = Float64Array.of(0.1);
  expect(toFloat64(new Tensor('F64', [1], doubles))).toEqual(doubles);
  expect(toFloat64(new Tensor('F64', [1], doubles))).not.toBe(doubles);
  expect(() => toFloat32(new Tensor('I64', [1], BigInt64Array.of(1n)))).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' }),
  );
});

test.each([
  ['F16', decodeF16, 2 ** 15],
  ['BF16', decodeBF16, 2 ** 15],
] as const)(
  'every value of %s is its own nearest, and one between two is rounded to the even one',
  (dtype, decode, count) => {
    const infinite = dtype === 'F16' ? 0x7c00 : 0x7f80;
    for (let bits = 0; bits < count; bits++) {
      const value = decode(bits);
      if (Number.isNaN(value)) {
        expect(encodeHalf(value, dtype)).toBeGreaterThan(infinite);
        continue;
      }
      const next = bits + 1 < infinite ? decode(bits + 1) : dtype === 'F16' ? 65536 : 2 ** 128;
      const middle = (value + next) / 2;
      const near = [value, -value, middle, -middle, middle * (1 - 2 ** -50), middle * (1 + 2 ** -50)];
      const even = bits % 2 === 0 ? bits : bits + 1;
      const want = bits >= infinite ? [bits, bits + count] : [bits, bits + count, even, even + count, bits, bits + 1];
      if (want.some((each, i) => encodeHalf(near[i]!, dtype) !== each))
        expect({ bits, got: near.map((x) => encodeHalf(x, dtype)) }).toEqual({ bits, got: want });
    }
  },
);
