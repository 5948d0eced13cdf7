import { type AffineConv, materialize } from '../../lib/algebra';
import { excess } from '../../lib/algebra/affine-conv';
import type { Axes } from '../../lib/algebra/chain';
import type { RepfuseError } from '../../lib/errors';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';
import { denseToGroups } from '../support/reference-algebra';
import { worstUlp } from '../support/ulp';
import {
  composition,
  concatenation,
  type Expression,
  identityExpression,
  pooling,
  randomConv,
  runFused,
  scaled,
  sum,
  withBatchNorm,
} from './expressions';

const ROUNDS = 40; // of each kind below

const excessOf = (fused: AffineConv): Axes => [excess(fused, 0), excess(fused, 1)];

/** A convolution, perhaps with a BatchNorm or a scale, perhaps a sum of two. */
function randomStage(random: Random, inChannels: number, outChannels: number, maxKernel: number): Expression {
  const excess: Axes | 'unpadded' = random.next() < 0.5 ? 'unpadded' : [random.int(-3, 1), random.int(-3, 1)];
  const stride = strideOf(random);
  const stage = () => {
    const conv = randomConv(random, { inChannels, outChannels, stride, excess, maxKernel });
    const draw = random.next();
    return draw < 0.3 ? withBatchNorm(random, conv) : draw < 0.5 ? scaled(random, conv) : conv;
  };
  return random.next() < 0.3 && excess !== 'unpadded' ? sum([stage(), stage()]) : stage();
}

const channelsOf = (random: Random) => random.pick([1, 2, 3, 4, 6, 12]);
const strideOf = (random: Random): Axes => [random.int(1, 2), random.int(1, 2)];

const kinds: Record<string, (random: Random) => Expression> = {
  'a sum of unequal kernels, paddings, dilations and groups': (random) => {
    const inChannels = channelsOf(random);
    const outChannels = channelsOf(random);
    const stride = strideOf(random);
    const first = randomConv(random, { inChannels, outChannels, stride, excess: [-1, 0], maxKernel: 5 });
    const others = Array.from({ length: random.int(1, 3) }, () =>
      withBatchNorm(
        random,
        randomConv(random, { inChannels, outChannels, stride, excess: excessOf(first.fused), maxKernel: 4 }),
      ),
    );
    return sum([first, ...others]);
  },
  'pointwise branches beside a larger kernel': (random) => {
    const channels = channelsOf(random) * 4;
    const excess = [0, 0] as const;
    const wanted = { inChannels: channels, outChannels: channels, stride: [1, 1], excess } as const;
    const branch = (maxKernel: number) => withBatchNorm(random, randomConv(random, { ...wanted, maxKernel }));
    const larger = branch(random.pick([3, 5, 7]));
    const all = [branch(1), larger, withBatchNorm(random, identityExpression(channels)), branch(1), branch(7), larger];
    return sum(all.slice(0, random.int(2, all.length)));
  },
  'a residual block with pooling': (random) => {
    const channels = channelsOf(random);
    const wanted = {
      inChannels: channels,
      outChannels: channels,
      stride: [1, 1],
      excess: [0, 0],
      maxKernel: 5,
    } as const;
    return withBatchNorm(
      random,
      sum([
        withBatchNorm(random, identityExpression(channels)),
        randomConv(random, wanted),
        pooling(channels, [3, 3], [1, 1], [1, 1]),
      ]),
    );
  },
  'a concatenation of the same input': (random) => {
    const inChannels = channelsOf(random);
    const stride = strideOf(random);
    const part = () =>
      withBatchNorm(
        random,
        randomConv(random, { inChannels, outChannels: channelsOf(random), stride, excess: [0, -1], maxKernel: 4 }),
      );
    return concatenation([part(), part(), part()].slice(0, random.int(1, 3)), 'shared');
  },
  'a concatenation of a split input': (random) => {
    const stride = strideOf(random);
    const inChannels = channelsOf(random);
    const equal = random.next() < 0.5;
    const part = () =>
      randomConv(random, {
        inChannels: equal ? inChannels : channelsOf(random),
        outChannels: equal ? 4 : channelsOf(random),
        stride,
        excess: [0, 0],
        maxKernel: 3,
      });
    return concatenation([part(), part(), part()], 'split');
  },
};

interface Refused {
  readonly first: Expression;
  readonly second: Expression;
  readonly border: 'zero' | 'bias';
}

/** A chain of `depth` stages, up to the first refusal. */
function randomComposition(random: Random, depth: number): Expression | Refused {
  let first = randomStage(random, channelsOf(random), channelsOf(random), random.pick([1, 1, 3]));
  for (let i = 1; i < depth; i++) {
    const { outChannels } = first.fused;
    const second =
      random.next() < 0.2
        ? pooling(outChannels, [2, 3], strideOf(random), [0, random.int(0, 1)])
        : randomStage(random, outChannels, channelsOf(random), random.pick([1, 3]));
    const border = random.pick(['zero', 'bias'] as const);
    try {
      first = composition(first, second, border, false);
    } catch (error) {
      expect((error as RepfuseError).code).toBe('ERR_REPFUSE_INEXACT');
      return { first, second, border };
    }
    if (random.next() < 0.4) first = withBatchNorm(random, first);
  }
  return first;
}

function checkAgainstReference({ fused, reference }: Expression, threads: number): void {
  const { weight, bias } = materialize(fused, { threads });
  const exact = denseToGroups(reference, reference.weight, fused.groups);
  const terms = denseToGroups(reference, reference.weightTerms, fused.groups);
  expect(worstUlp(weight.data as Float32Array, exact, terms)).toBeLessThanOrEqual(1);
  expect(worstUlp(bias.data as Float32Array, reference.bias, reference.biasTerms)).toBeLessThanOrEqual(1);
  for (const isa of availableIsas()) {
    const again = withIsa(isa, () => materialize(fused, { threads: 3 }));
    expect(again.weight.data).toEqual(weight.data);
    expect(again.bias.data).toEqual(bias.data);
  }
}

/** Peak error of the fused convolution against the unfused computation, for several input sizes. */
function outputErrors(random: Random, expression: Expression): number[] {
  const { fused } = expression;
  const { weight, bias } = materialize(fused);
  const errors: number[] = [];
  for (let size = 1; size <= 17; size += random.int(1, 3)) {
    const sizes: Axes = [size, size + random.int(0, 3)];
    const output = fused.outputSize(sizes);
    if (output[0] < 1 || output[1] < 1 || output[0] > 40 || output[1] > 40) continue;
    const data = Float64Array.from(random.floats(fused.inChannels * sizes[0] * sizes[1]));
    const input = { channels: fused.inChannels, size: sizes, data };
    const want = expression.run(input);
    const got = runFused(fused, weight, bias, input);
    expect(got.size).toEqual(want.size);
    errors.push(peakError(got.data, want.data));
  }
  return errors;
}

describe.each(Object.entries(kinds))('%s', (name, build) => {
  test.each(Array.from({ length: ROUNDS }, (_, seed) => seed))('seed %i', (seed) => {
    const random = new Random(seed * 7919 + name.length);
    const expression = build(random);
    checkAgainstReference(expression, random.int(1, 3));
    expect(Math.max(...outputErrors(random, expression))).toBeLessThanOrEqual(2e-6);
  });
});

describe.each([2, 3, 4])('a composition of %i', (depth) => {
  let exact = 0;
  let refused = 0;
  let cautious = 0;
  test.each(Array.from({ length: 3 * ROUNDS }, (_, seed) => seed))('seed %i', (seed) => {
    const random = new Random(seed * 104_729 + depth);
    const expression = randomComposition(random, depth);
    if ('fused' in expression) {
      exact++;
      checkAgainstReference(expression, random.int(1, 3));
      expect(Math.max(0, ...outputErrors(random, expression))).toBeLessThanOrEqual(2e-6);
      return;
    }
    refused++;
    const forced = composition(expression.first, expression.second, expression.border, true);
    checkAgainstReference(forced, 2);
    if (Math.max(...outputErrors(random, forced)) < 1e-5) cautious++;
  });

  test('both outcomes come up, and what is refused does differ at the border', () => {
    expect(Math.min(exact, refused)).toBeGreaterThanOrEqual(20);
    // But for a few, whose strides happen to step over the pixels in question.
    expect(cautious / refused).toBeLessThan(0.1);
  });
});
