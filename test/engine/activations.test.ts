import { Engine } from '../../lib/engine';
import type { Graph } from '../../lib/graph';
import { hardswish, relu, sigmoid, silu } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { erf } from '../support/erf';
import { availableIsas, withIsa } from '../support/isa';
import { ulpOf } from '../support/ulp';

// At every exponent and wherever something changes; native/test/activations_test.cc has more values, `npm run trust` all of them.

type Node = Graph['nodes'][number];

const LEAST = 2 ** -126; // smaller ones count as zero in the engine
const PIXELS = values();

interface Case {
  readonly node: Omit<Node, 'id' | 'inputs'>;
  readonly eager?: (x: Tensor) => Tensor;
  readonly definition: (x: number) => number;
  readonly ulps: number;
}

const CASES: Readonly<Record<string, Case>> = {
  relu: { node: { op: 'relu' }, eager: relu, definition: (x) => Math.max(x, 0), ulps: 0 },
  sigmoid: { node: { op: 'sigmoid' }, eager: sigmoid, definition: (x) => 1 / (1 + Math.exp(-x)), ulps: 4 },
  silu: { node: { op: 'silu' }, eager: silu, definition: (x) => x / (1 + Math.exp(-x)), ulps: 4 },
  hardswish: {
    node: { op: 'hardswish' },
    eager: hardswish,
    definition: (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
    ulps: 2,
  },
  erf: { node: { op: 'erf' }, definition: erf, ulps: 4 },
  tanh: { node: { op: 'tanh' }, definition: Math.tanh, ulps: 4 },
  softplus: {
    node: { op: 'softplus' },
    definition: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    ulps: 4,
  },
  softsign: { node: { op: 'softsign' }, definition: (x) => x / (1 + Math.abs(x)), ulps: 1 },
  elu: {
    node: { op: 'elu', alpha: 0.75 } as Case['node'],
    definition: (x) => (x < 0 ? 0.75 * Math.expm1(x) : x),
    ulps: 4,
  },
  clip: { node: clip(-1.5, 6), definition: (x) => Math.min(Math.max(x, -1.5), 6), ulps: 0 },
  'clip from below': { node: clip(-1e30, null), definition: (x) => Math.max(x, Math.fround(-1e30)), ulps: 0 },
  'leaky relu': {
    node: { op: 'leaky_relu', slope: 0.125 } as Case['node'],
    definition: (x) => (x < 0 ? 0.125 * x : x),
    ulps: 0,
  },
  'hard sigmoid': {
    node: { op: 'hard_sigmoid', alpha: 0.125, beta: 0.5 } as Case['node'],
    definition: (x) => Math.min(Math.max(0.125 * x + 0.5, 0), 1),
    ulps: 1,
  },
};

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s, by itself and behind a convolution', async (_, { node, eager, ...right }) => {
    const image = Tensor.f32([1, 1, 1, PIXELS.length], PIXELS);
    const one = new Map([['one', Tensor.f32([1, 1, 1, 1], [1])]]);
    const conv = { id: 'y', op: 'conv2d', inputs: ['x'], weight: 'one', bias: null } as const;
    const setting = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
    const alone = [{ ...node, id: 'z', inputs: ['x'] } as Node];
    const behind = [{ ...conv, ...setting }, { ...node, id: 'z', inputs: ['y'] } as Node];
    await withIsa(isa, async () => {
      for (const nodes of [alone, behind]) {
        using engine = await Engine.create({
          graph: { input: 'x', output: 'z', inputShape: [1, 1, PIXELS.length], nodes },
          tensors: one,
        });
        expectRight(engine.runSync(image).data as Float32Array, right, LEAST);
      }
      if (eager) expectRight(eager(image).data as Float32Array, right, 0);
    });
  });
});

function clip(min: number | null, max: number | null): Case['node'] {
  return { op: 'clip', min, max } as Case['node'];
}

function values(): Float32Array {
  const bits = new Uint32Array(2 * 256 * 8).map((_, i) => ((i >> 3) << 23) | ((i & 7) * 1_198_373));
  const edges = [3, 6, 44, 64, 87.33, 87.34, 88, 88.73, 91.5, 92.1, 104, 170, 1e38, 3.4028234663852886e38];
  const around = edges.flatMap((edge) => [edge, -edge, edge * (1 + 2 ** -23), -edge * (1 + 2 ** -23)]);
  return Float32Array.of(...new Float32Array(bits.buffer), ...around);
}

function expectRight(got: Float32Array, { definition, ulps }: Pick<Case, 'definition' | 'ulps'>, least: number) {
  const wrong: string[] = [];
  got.forEach((value, i) => {
    const x = PIXELS[i]!;
    const want = definition(x);
    const tiny = Math.abs(x) < LEAST || Math.abs(want) < 2 * LEAST ? Math.max(least, ulpOf(0)) : 0;
    // What rounds up to infinity is infinite in float32.
    const right = Number.isFinite(Math.fround(want))
      ? Math.abs(value - want) <= (ulps + 0.5) * ulpOf(want) + tiny
      : Object.is(value, Math.fround(want));
    if (!right) wrong.push(`f(${x}) = ${value}, not ${want}`);
  });
  expect(wrong.slice(0, 5)).toEqual([]);
}
