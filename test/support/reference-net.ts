import { Tensor } from '../../lib/tensor/tensor';
import { Random } from './random';
import { referenceConv2d } from './reference-conv';

/** An activation in float64, [N, C, H, W]. */
export interface Activation {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

interface ConvSettings {
  readonly stride?: number;
  readonly pad?: number;
  readonly dilation?: number;
  readonly groups?: number;
  readonly bias?: boolean | string;
}

/**
 * A block in training form as its paper describes it: every call makes the tensors that it needs, with rough values, and
 * computes in float64 by definition. Independent of the algebra, the rules and the native code.
 */
export class ReferenceNet {
  readonly tensors = new Map<string, Tensor>();
  private readonly random: Random;

  constructor(
    seed: number,
    private readonly eps: number,
    private readonly names: readonly [string, string] = ['running_mean', 'running_var'],
  ) {
    this.random = new Random(seed);
  }

  input(channels: number, size: readonly [number, number] = [9, 8]): Activation {
    const shape = [2, channels, ...size];
    return { shape, data: Float64Array.from(this.random.floats(2 * channels * size[0] * size[1])) };
  }

  /** A tensor of rough values under a key. */
  tensor(key: string, shape: readonly number[], values?: readonly number[]): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    const made = Tensor.f32(shape, values ?? this.random.floats(size, 0.5));
    this.tensors.set(key, made);
    return made;
  }

  /** A shape of two is that of a linear layer. */
  conv(x: Activation, weight: string, shape: readonly number[], settings: ConvSettings = {}): Activation {
    const { stride = 1, pad = 0, dilation = 1, groups = 1, bias = false } = settings;
    const kernel = this.tensor(weight, shape);
    const biasKey = typeof bias === 'string' ? bias : weight.replace(/weight$/, 'bias');
    return referenceConv2d({
      input: x.data,
      inputShape: x.shape,
      weight: kernel.data as Float32Array,
      weightShape: [...shape, 1, 1].slice(0, 4),
      bias: bias === false ? null : (this.tensor(biasKey, [shape[0]!]).data as Float32Array),
      stride: [stride, stride],
      padding: [pad, pad, pad, pad],
      dilation: [dilation, dilation],
      groups,
    });
  }

  batchNorm(x: Activation, key: string): Activation {
    const channels = x.shape[1]!;
    const make = (name: string, value: (i: number) => number) =>
      this.tensor(
        `${key}.${name}`,
        [channels],
        Array.from({ length: channels }, (_, i) => value(i)),
      ).data as Float32Array;
    const gamma = make('weight', (i) => (i === 1 ? 0 : (0.3 + 1.7 * this.random.next()) * (i % 4 === 3 ? -1 : 1)));
    const beta = make('bias', () => 2 * this.random.next() - 1);
    const mean = make(this.names[0], () => 2 * this.random.next() - 1);
    const variance = make(this.names[1], () => 10 ** (4 * this.random.next() - 3));
    return perChannel(x, (v, c) => ((v - mean[c]!) / Math.sqrt(variance[c]! + this.eps)) * gamma[c]! + beta[c]!);
  }

  scale(x: Activation, key: string, shape: readonly number[], values?: readonly number[]): Activation {
    const { data, size } = this.tensor(key, shape, values);
    return perChannel(x, (v, c) => v * Number(data[size === 1 ? 0 : c]));
  }

  addBias(x: Activation, key: string, shape: readonly number[] = [x.shape[1]!]): Activation {
    const { data } = this.tensor(key, shape);
    return perChannel(x, (v, c) => v + Number(data[c]));
  }

  /** 3x3, stride 1, padding that counts. */
  average(x: Activation): Activation {
    const channels = x.shape[1]!;
    const weight = new Float64Array(channels * 9).fill(1 / 9);
    const shape = [channels, 1, 3, 3];
    return referenceConv2d({
      input: x.data,
      inputShape: x.shape,
      weight,
      weightShape: shape,
      stride: [1, 1],
      padding: [1, 1, 1, 1],
      dilation: [1, 1],
      groups: channels,
    });
  }
}

export function perChannel({ shape, data }: Activation, f: (value: number, channel: number) => number): Activation {
  const plane = shape[2]! * shape[3]!;
  return { shape, data: data.map((value, i) => f(value, Math.floor(i / plane) % shape[1]!)) };
}

export function sum(...terms: readonly Activation[]): Activation {
  const [first, ...others] = terms as [Activation, ...Activation[]];
  return { shape: first.shape, data: first.data.map((v, i) => others.reduce((s, { data }) => s + data[i]!, v)) };
}

/** A frame of one pixel, filled with one value per channel. */
export function framed({ shape, data }: Activation, values: ArrayLike<number>): Activation {
  const [batch, channels, height, width] = shape as [number, number, number, number];
  const out = new Float64Array(batch * channels * (height + 2) * (width + 2));
  for (let map = 0; map < batch * channels; map++) {
    for (let y = 0; y < height + 2; y++) {
      for (let x = 0; x < width + 2; x++) {
        const inside = y > 0 && y <= height && x > 0 && x <= width;
        out[(map * (height + 2) + y) * (width + 2) + x] = inside
          ? data[(map * height + y - 1) * width + x - 1]!
          : values[map % channels]!;
      }
    }
  }
  return { shape: [batch, channels, height + 2, width + 2], data: out };
}
