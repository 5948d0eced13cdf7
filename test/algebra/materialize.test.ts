import {
  type AffineConv,
  addBranches,
  composeSequential,
  concatOutputs,
  conv,
  foldBatchNorm,
  fromBranch,
  identity,
  materialize,
  materializeAsync,
  scale,
} from '../../lib/algebra';
import type { Branch } from '../../lib/ops';
import { decodeBF16, decodeF16 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

const random = new Random(11);
const weight = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b)));
const statistics = (channels: number) => ({
  runningMean: weight(channels),
  runningVar: Tensor.f32(
    [channels],
    random.floats(channels).map((v) => v * v),
  ),
  weight: weight(channels),
  bias: weight(channels),
  eps: 1e-5,
});

/** A RepVGG block: 3x3, 1x1 and identity, each with its BatchNorm. */
function repvgg(channels: number, dense: Tensor, groups = 1): AffineConv {
  return addBranches([
    foldBatchNorm(conv(weight(channels, channels / groups, 1, 1), null, { groups }), statistics(channels)),
    foldBatchNorm(conv(dense, null, { padding: 1, groups, name: 'dense.weight' }), statistics(channels)),
    foldBatchNorm(identity(channels, groups), statistics(channels)),
  ]);
}

/** The 1x1-KxK branch of a Diverse Branch Block, whose first kernel is stored as the difference to the identity. */
function dbb(channels: number, second: Tensor): Branch {
  const unit = { stride: [1, 1], dilation: [1, 1], groups: 1 } as const;
  return {
    name: 'dbb_1x1_kxk',
    stages: [
      { kind: 'conv2d', weight: weight(channels, channels, 1, 1), padding: [0, 0, 0, 0], plusIdentity: true, ...unit },
      { kind: 'batch_norm', ...statistics(channels) },
      { kind: 'pad_border', padding: [1, 1, 1, 1] },
      { kind: 'conv2d', weight: second, padding: [0, 0, 0, 0], ...unit },
      { kind: 'batch_norm', ...statistics(channels) },
    ],
  };
}

const bits = (tensor: Tensor) => Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);

function expectSameBits(got: { weight: Tensor; bias: Tensor }, want: { weight: Tensor; bias: Tensor }): void {
  expect(bits(got.weight).equals(bits(want.weight))).toBe(true);
  expect(bits(got.bias).equals(bits(want.bias))).toBe(true);
}

describe('in place', () => {
  const cases: Record<string, (own: Tensor) => AffineConv> = {
    'a RepVGG block': (own) => repvgg(12, own),
    'the second kernel of a composition': (own) => fromBranch(dbb(12, own)),
    'a kernel that two branches share': (own) =>
      addBranches([conv(own, null, { padding: 1 }), scale(conv(own, null, { padding: 1 }), -0.5)]),
    'a branch of one and a branch of two kernels on the same one': (own) =>
      addBranches([conv(own, null, { padding: 1 }), fromBranch(dbb(12, own))]),
  };

  describe.each(availableIsas())('at %s', (isa) => {
    test.each(Object.keys(cases))('%s', (name) => {
      for (const threads of [1, 2, 7]) {
        const own = weight(12, 12, 3, 3);
        const description = cases[name]!(own);
        const want = materialize(description);
        expect(want.inPlace).toBe(false);
        const got = withIsa(isa, () => materialize(description, { into: 'largest-branch', threads }));
        expect(got.inPlace).toBe(true);
        expect(got.weight.data).toBe(own.data);
        expectSameBits(got, want);
      }
    });
  });

  test('of the largest branch wherever it stands, grouped too', () => {
    const own = weight(12, 3, 3, 3);
    expect(materialize(repvgg(12, own, 4), { into: 'largest-branch' }).weight.data).toBe(own.data);
  });

  const elsewhere: Record<string, (own: Tensor) => AffineConv> = {
    'of another type': (own) => conv(new Tensor('F64', own.shape, Float64Array.from(own.data as Float32Array)), null),
    'of another size': (own) =>
      addBranches([conv(own, null, { padding: 1 }), conv(weight(12, 12, 5, 5), null, { padding: 2 })]),
    'whose rows go elsewhere': (own) => concatOutputs([conv(own, null), conv(own, null)]),
    'that is the first kernel of a composition': (own) =>
      composeSequential(conv(own, null), conv(weight(12, 12, 1, 1), null)),
    'in whose buffer another operand lies': (own) => {
      const half = (own.data as Float32Array).subarray(0, 144);
      return addBranches([conv(own, null, { padding: 1 }), conv(Tensor.f32([12, 12, 1, 1], half), null)]);
    },
    'that also is an inner kernel': (own) =>
      addBranches([
        conv(own, null, { padding: 2 }),
        composeSequential(conv(own, null, { padding: 2 }), conv(weight(12, 12, 1, 1), null)),
      ]),
  };

  test.each(Object.keys(elsewhere))('not in a buffer %s', (name) => {
    const own = weight(12, 12, 3, 3);
    const before = Float32Array.from(own.data as Float32Array);
    const description = elsewhere[name]!(own);
    const want = materialize(description);
    const got = materialize(description, { into: 'largest-branch' }); // perhaps in another branch's buffer
    expect(got.weight.data).not.toBe(own.data);
    expect(own.data).toEqual(before);
    expectSameBits(got, want);
  });

  test('an array of the caller receives the weight, unless an operand lies in it', () => {
    const own = weight(12, 12, 3, 3);
    const description = repvgg(12, own);
    const room = new Float32Array(2 * own.size);
    const into = room.subarray(3, 3 + own.size);
    const got = materialize(description, { into });
    expect(got.weight.data).toBe(into);
    expectSameBits(got, materialize(description));
    const shifted = Tensor.f32(own.shape, room.subarray(0, own.size));
    expect(() => materialize(conv(shifted, null), { into })).toThrow(
      expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message: expect.stringContaining('overlaps') }),
    );
  });
});

describe('a failing check leaves everything untouched', () => {
  const poison: Record<string, { at: number; value: number }> = {
    'NaN in the first weight': { at: 0, value: Number.NaN },
    'NaN in the last weight': { at: -1, value: Number.NaN },
    'infinity somewhere': { at: 700, value: Number.NEGATIVE_INFINITY },
  };

  describe.each(availableIsas())('at %s', (isa) => {
    test.each(Object.keys(poison))('%s', (name) => {
      const own = weight(12, 12, 3, 3);
      const description = repvgg(12, own);
      const { at, value } = poison[name]!;
      (own.data as Float32Array)[at < 0 ? own.size + at : at] = value;
      const before = Float32Array.from(own.data as Float32Array);
      expect(() => withIsa(isa, () => materialize(description, { into: 'largest-branch' }))).toThrow(
        expect.objectContaining({
          code: 'ERR_REPFUSE_NOT_FINITE',
          message: expect.stringContaining('dense.weight'),
          details: expect.objectContaining({ name: 'dense.weight', tensor: own }),
        }),
      );
      expect(own.data).toEqual(before);
    });

    test.each(Object.keys(poison))('%s, found within the one pass over a working copy', (name) => {
      const own = weight(12, 12, 3, 3);
      const description = repvgg(12, own);
      const { at, value } = poison[name]!;
      (own.data as Float32Array)[at < 0 ? own.size + at : at] = value;
      expect(() => withIsa(isa, () => materialize(description, { into: 'largest-branch', check: 'during' }))).toThrow(
        expect.objectContaining({ code: 'ERR_REPFUSE_NOT_FINITE' }),
      );
    });

    test('a check within the pass changes no bit', () => {
      const own = weight(12, 12, 3, 3);
      const description = repvgg(12, own);
      const want = withIsa(isa, () => materialize(description, { into: new Float32Array(own.size) }));
      expectSameBits(
        withIsa(isa, () => materialize(description)),
        want,
      );
      expectSameBits(
        withIsa(isa, () => materialize(description, { into: 'largest-branch', check: 'during' })),
        want,
      );
    });

    test('a sum beyond float32', () => {
      const own = weight(12, 12, 3, 3);
      (own.data as Float32Array)[own.size - 1] = 3e38;
      const before = Float32Array.from(own.data as Float32Array);
      const other = new Float32Array(own.size);
      other[own.size - 1] = 2e38;
      const sum = addBranches([conv(own, null), conv(Tensor.f32(own.shape, other), null)]);
      const into = new Float32Array(own.size).fill(7);
      for (const target of ['largest-branch', into] as const) {
        expect(() => withIsa(isa, () => materialize(sum, { into: target }))).toThrow(
          expect.objectContaining({ code: 'ERR_REPFUSE_NOT_FINITE', message: expect.stringContaining('float32') }),
        );
      }
      expect(own.data).toEqual(before);
      expect(into.every((value) => value === 7)).toBe(true);
    });

    test('large terms that cancel are no overflow', () => {
      const value = Tensor.f32([1, 1, 1, 1], [3e38]);
      const sum = addBranches([
        conv(value, null),
        scale(conv(value, null), -0.9),
        conv(value, null),
        scale(conv(value, null), -1),
      ]);
      const got = withIsa(isa, () => materialize(sum));
      expect(got.weight.data[0]).toBeCloseTo(Math.fround(3e38) * 0.1, -32);
    });
  });

  test('a bias beyond float32', () => {
    const big = scale(conv(Tensor.f32([1, 1, 1, 1], [1]), Tensor.f32([1], [3e38])), 2);
    expect(() => materialize(big)).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_NOT_FINITE' }));
  });
});

describe('weights of other floating types', () => {
  const patterns = Uint16Array.from({ length: 12 * 12 * 9 }, () => {
    const pattern = random.int(0, 0xffff);
    return (pattern & 0x7c00) === 0x7c00 ? pattern & 0xbfff : pattern; // no infinities
  });
  const types: Record<string, Tensor> = {
    F16: new Tensor('F16', [12, 12, 3, 3], patterns),
    BF16: new Tensor(
      'BF16',
      [12, 12, 3, 3],
      patterns.map((pattern) => (pattern & 0x80ff) | 0x3f00),
    ),
    F64: new Tensor('F64', [12, 12, 3, 3], Float64Array.from(random.floats(12 * 12 * 9))),
  };
  const decode: Record<string, (value: number) => number> = { F16: decodeF16, BF16: decodeBF16, F64: (v) => v };

  test.each(Object.keys(types))('%s gives the bits of the same values in F32, in every place', (type) => {
    const other = types[type]!;
    const same = Tensor.f32(other.shape, Float32Array.from(other.data as Float64Array, decode[type]));
    const pointwise = weight(12, 12, 1, 1);
    const uses: ((w: Tensor) => AffineConv)[] = [
      (w) => repvgg(12, w),
      (w) => composeSequential(conv(w, weight(12), { padding: 1 }), conv(pointwise, null)),
      (w) => composeSequential(conv(pointwise, weight(12)), conv(w, null, { padding: 1 }), { border: 'bias' }),
      (w) => addBranches([conv(w, null, { padding: 1 }), conv(weight(12, 12, 5, 5), null, { padding: 2 })]),
      (w) => composeSequential(composeSequential(conv(pointwise, null), conv(w, null)), conv(w, null)),
    ];
    for (const use of uses) {
      const seed = random.int(0, 1e6);
      // The same random statistics on both sides.
      const build = (w: Tensor) => {
        Object.assign(random, new Random(seed));
        return materialize(use(w));
      };
      expectSameBits(build(other), build(same));
    }
  });

  test('a half NaN is found', () => {
    const bad = new Tensor('F16', [1, 1, 1, 1], Uint16Array.of(0x7e00));
    expect(() => materialize(conv(bad, null))).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_NOT_FINITE' }));
  });
});

describe('scratch of a thread', () => {
  const row = (description: AffineConv) =>
    (description.inChannels / description.groups) * description.kernel[0] * description.kernel[1] * 8;

  test('a tile for kernels with their BatchNorms', () => {
    const block = repvgg(512, weight(512, 512, 3, 3));
    expect(materialize(block, { threads: 2 }).scratchBytesPerThread).toBeLessThanOrEqual(16 * 1024);
    const small = repvgg(12, weight(12, 12, 3, 3));
    expect(materialize(small).scratchBytesPerThread).toBeLessThanOrEqual(row(small));
  });

  test('one row for two kernels in a row, whichever is the larger', () => {
    const pointwise = conv(weight(40, 40, 1, 1), weight(40));
    const large = conv(weight(40, 40, 3, 3), weight(40), { padding: 1 });
    const forward = composeSequential(pointwise, large, { border: 'bias' });
    expect(materialize(forward).scratchBytesPerThread).toBe(row(forward));
    const backward = composeSequential(large, pointwise);
    expect(materialize(backward).scratchBytesPerThread).toBe(row(backward));
  });

  test('three rows for three kernels in a row', () => {
    const pointwise = conv(weight(40, 40, 1, 1), weight(40));
    const chain = composeSequential(composeSequential(pointwise, conv(weight(40, 40, 3, 3), null)), pointwise);
    expect(materialize(chain).scratchBytesPerThread).toBeLessThanOrEqual(3 * row(chain));
  });
});

describe('materializeAsync', () => {
  test('gives the bits of the synchronous call, in place and not', async () => {
    const own = weight(12, 12, 3, 3);
    const block = repvgg(12, own);
    const want = materialize(block);
    expectSameBits(await materializeAsync(block, { threads: 2 }), want);
    const into = new Float32Array(own.size);
    expect((await materializeAsync(block, { into })).weight.data).toBe(into);
    expectSameBits({ ...want, weight: Tensor.f32(own.shape, into) }, want);
    const inPlace = await materializeAsync(block, { into: 'largest-branch' });
    expect(inPlace.weight.data).toBe(own.data);
    expectSameBits(inPlace, want);
  });

  test('rejects with the name of the tensor, or when aborted', async () => {
    const own = weight(12, 12, 3, 3);
    const block = repvgg(12, own);
    await expect(materializeAsync(block, { signal: AbortSignal.abort(7) })).rejects.toBe(7);
    (own.data as Float32Array)[5] = Number.NaN;
    await expect(materializeAsync(block, { into: 'largest-branch' })).rejects.toMatchObject({
      code: 'ERR_REPFUSE_NOT_FINITE',
      details: { name: 'dense.weight' },
    });
  });
});

test('zeros are +0, also of absent connections and of products with -0', () => {
  const negativeZero = Tensor.f32([2, 1, 1, 1], [-0, 0]);
  const { weight: got } = materialize(scale(conv(negativeZero, null, { groups: 1 }), -1));
  expect([...(got.data as Float32Array)].map((v) => Object.is(v, 0))).toEqual([true, true]);
});
