import {
  type AffineConv,
  addBranches,
  averagePool,
  composeSequential,
  concatOutputs,
  conv,
  foldBatchNorm,
  identity,
  scale,
} from '../../lib/algebra';
import type { Axes } from '../../lib/algebra/chain';
import type { Padding4 } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import type { Random } from '../support/random';
import {
  type Dense,
  dense,
  denseAdd,
  denseBatchNorm,
  denseCompose,
  denseConcat,
  denseScale,
} from '../support/reference-algebra';
import { referenceConv2d } from '../support/reference-conv';

/** A feature map [C, H, W] in float64. */
export interface FeatureMap {
  readonly channels: number;
  readonly size: Axes;
  readonly data: Float64Array;
}

/** An affine map three times: in the algebra, in the dense reference, and as the unfused computation. */
export interface Expression {
  readonly fused: AffineConv;
  readonly reference: Dense;
  run(input: FeatureMap): FeatureMap;
}

/** What a random convolution is to look like where its surroundings leave no choice. */
interface Wanted {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly stride: Axes;
  /** pBefore + pAfter - d (k - 1) of both axes, or `unpadded`. */
  readonly excess: Axes | 'unpadded';
  readonly maxKernel: number;
}

const both = <T>(f: (axis: number) => T): [T, T] => [f(0), f(1)];

/** A random convolution with that excess: the padding follows from kernel and dilation. */
export function randomConv(random: Random, wanted: Wanted): Expression {
  const { inChannels, outChannels, stride, excess, maxKernel } = wanted;
  const divisors = [1, 2, 3, 4, 6].filter((g) => inChannels % g === 0 && outChannels % g === 0);
  const groups = random.pick(divisors);
  const kernel = both(() => random.int(1, maxKernel));
  const dilation = both(() => random.int(1, 2));
  const span = both((a) => dilation[a]! * (kernel[a]! - 1));
  const total = both((a) => (excess === 'unpadded' ? 0 : excess[a]! + span[a]!));
  const before = both((a) => (excess === 'unpadded' ? 0 : Math.floor(total[a]! / 2) + random.int(-1, 1)));
  const padding: Padding4 = [before[0], before[1], total[0] - before[0], total[1] - before[1]];
  const shape = [outChannels, inChannels / groups, ...kernel];
  const weight = random.floats(shape.reduce((a, b) => a * b));
  const bias = random.next() < 0.5 ? random.floats(outChannels) : null;
  return {
    fused: conv(Tensor.f32(shape, weight), bias && Tensor.f32([outChannels], bias), {
      stride,
      padding,
      dilation,
      groups,
    }),
    reference: dense(weight, shape, bias, groups, { stride, before, dilation }),
    run: ({ channels, size, data }) => {
      const out = referenceConv2d({
        input: data,
        inputShape: [1, channels, ...size],
        weight,
        weightShape: shape,
        bias,
        stride,
        padding,
        dilation,
        groups,
      });
      return { channels: outChannels, size: [out.shape[2]!, out.shape[3]!], data: out.data };
    },
  };
}

export function withBatchNorm(random: Random, inner: Expression): Expression {
  const { outChannels } = inner.fused;
  const gamma = random.next() < 0.8 ? random.floats(outChannels) : null;
  const beta = random.next() < 0.8 ? random.floats(outChannels) : null;
  const mean = random.floats(outChannels);
  const variance = random.floats(outChannels).map((v) => v * v);
  const eps = random.pick([1e-5, 1e-3]);
  const tensor = (values: Float32Array) => Tensor.f32([outChannels], values);
  const parameters = { weight: gamma && tensor(gamma), bias: beta && tensor(beta) };
  return {
    fused: foldBatchNorm(inner.fused, { ...parameters, runningMean: tensor(mean), runningVar: tensor(variance), eps }),
    reference: denseBatchNorm(inner.reference, { gamma, beta, mean, variance, eps }),
    run: (input) =>
      mapChannels(inner.run(input), (x, c) => {
        return ((x - mean[c]!) / Math.sqrt(variance[c]! + eps)) * (gamma?.[c] ?? 1) + (beta?.[c] ?? 0);
      }),
  };
}

export function scaled(random: Random, inner: Expression): Expression {
  const values = random.floats(inner.fused.outChannels);
  return {
    fused: scale(inner.fused, Tensor.f32([values.length, 1, 1], values)),
    reference: denseScale(inner.reference, values),
    run: (input) => mapChannels(inner.run(input), (x, c) => x * values[c]!),
  };
}

export function sum(parts: readonly Expression[]): Expression {
  const fused = addBranches(parts.map((part) => part.fused));
  return {
    fused,
    reference: denseAdd(
      parts.map((part) => part.reference),
      gridOf(fused),
    ),
    run: (input) => {
      const maps = parts.map((part) => part.run(input));
      return { ...maps[0]!, data: maps[0]!.data.map((_, i) => maps.reduce((total, map) => total + map.data[i]!, 0)) };
    },
  };
}

export function concatenation(parts: readonly Expression[], input: 'shared' | 'split'): Expression {
  const fused = concatOutputs(
    parts.map((part) => part.fused),
    { input },
  );
  return {
    fused,
    reference: denseConcat(
      parts.map((part) => part.reference),
      gridOf(fused),
      input === 'split',
    ),
    run: (map) => {
      let next = 0;
      const outputs = parts.map((part) => {
        const { inChannels } = part.fused;
        const first = input === 'split' ? next : 0;
        next += inChannels;
        const pixels = map.size[0] * map.size[1];
        return part.run({
          ...map,
          channels: inChannels,
          data: map.data.slice(first * pixels, (first + inChannels) * pixels),
        });
      });
      const data = Float64Array.from(outputs.flatMap((output) => [...output.data]));
      return { channels: fused.outChannels, size: outputs[0]!.size, data };
    },
  };
}

/** `second` of `first`, unfused with the border that is asked for. @throws what composeSequential throws */
export function composition(
  first: Expression,
  second: Expression,
  border: 'zero' | 'bias',
  allowInexactBorder: boolean,
): Expression {
  const fused = composeSequential(first.fused, second.fused, { border, allowInexactBorder });
  const frame = border === 'bias' ? first.reference.bias : new Float64Array(first.fused.outChannels);
  return {
    fused,
    reference: denseCompose(first.reference, second.reference, gridOf(fused)),
    run: (input) => unpadded(second).run(pad(first.run(input), second.fused.padding, frame)),
  };
}

export function identityExpression(channels: number): Expression {
  const geometry = { stride: [1, 1], before: [0, 0], dilation: [1, 1] };
  return {
    fused: identity(channels),
    reference: dense(new Float64Array(channels).fill(1), [channels, 1, 1, 1], null, channels, geometry),
    run: (input) => input,
  };
}

export function pooling(channels: number, kernel: Axes, stride: Axes, padding: Axes): Expression {
  const values = new Float64Array(channels * kernel[0] * kernel[1]).fill(1 / (kernel[0] * kernel[1]));
  const geometry = { stride, before: padding, dilation: [1, 1] };
  const reference = dense(values, [channels, 1, ...kernel], null, channels, geometry);
  return {
    fused: averagePool({ channels, kernel, stride, padding }),
    reference,
    run: (input) => runDense(reference, input, [...padding, ...padding] as unknown as Padding4),
  };
}

/** The fused convolution's own weights on a map. */
export function runFused(
  fused: AffineConv,
  weight: Tensor,
  bias: Tensor,
  { channels, size, data }: FeatureMap,
): FeatureMap {
  const out = referenceConv2d({
    input: data,
    inputShape: [1, channels, ...size],
    weight: weight.data as Float32Array,
    weightShape: weight.shape,
    bias: bias.data as Float32Array,
    stride: fused.stride,
    padding: fused.padding,
    dilation: fused.dilation,
    groups: fused.groups,
  });
  return { channels: fused.outChannels, size: [out.shape[2]!, out.shape[3]!], data: out.data };
}

function runDense(conv: Dense, { channels, size, data }: FeatureMap, padding: Padding4): FeatureMap {
  const out = referenceConv2d({
    input: data,
    inputShape: [1, channels, ...size],
    weight: conv.weight,
    weightShape: [conv.out, conv.in, ...conv.kernel],
    bias: conv.bias,
    stride: conv.stride as unknown as Axes,
    padding,
    dilation: conv.dilation as unknown as Axes,
    groups: 1,
  });
  return { channels: conv.out, size: [out.shape[2]!, out.shape[3]!], data: out.data };
}

/** The same map without padding of its own (the reference kernel, valid windows only). */
function unpadded({ reference }: Expression): Pick<Expression, 'run'> {
  return { run: (input) => runDense(reference, input, [0, 0, 0, 0]) };
}

/** Adds a frame of one value per channel; negative sides crop. */
function pad(
  { channels, size, data }: FeatureMap,
  [top, left, bottom, right]: Padding4,
  frame: Float64Array,
): FeatureMap {
  const height = size[0] + top + bottom;
  const width = size[1] + left + right;
  const padded = new Float64Array(channels * Math.max(0, height) * Math.max(0, width));
  for (let i = 0; i < padded.length; i++) {
    const c = Math.floor(i / (height * width));
    const y = (Math.floor(i / width) % height) - top;
    const x = (i % width) - left;
    const inside = y >= 0 && y < size[0] && x >= 0 && x < size[1];
    padded[i] = inside ? data[(c * size[0] + y) * size[1] + x]! : frame[c]!;
  }
  return { channels, size: [height, width], data: padded };
}

function mapChannels(map: FeatureMap, f: (x: number, channel: number) => number): FeatureMap {
  const pixels = map.size[0] * map.size[1];
  return { ...map, data: map.data.map((x, i) => f(x, Math.floor(i / pixels))) };
}

function gridOf({ kernel, padding, dilation }: AffineConv) {
  return { kernel, before: [padding[0], padding[1]], dilation };
}
