/**
 * The algebra of affine convolutions once more, for tests: dense float64 kernels `[O, I, kh, kw]`, every operation carried
 * out at once by its definition. Beside each value it sums the absolute values of the terms, which the numeric contract
 * refers to. Shares nothing with lib/algebra.
 */
export interface Dense {
  readonly out: number;
  readonly in: number;
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  /** Top and left. */
  readonly before: readonly number[];
  readonly dilation: readonly number[];
  readonly weight: Float64Array;
  readonly weightTerms: Float64Array;
  readonly bias: Float64Array;
  readonly biasTerms: Float64Array;
}

type Values = ArrayLike<number>;
export type DenseGrid = Pick<Dense, 'kernel' | 'before' | 'dilation'>;

const abs = (values: Float64Array) => values.map(Math.abs);

/** A grouped convolution with its absent connections as zeros. */
export function dense(
  weight: Values,
  shape: readonly number[],
  bias: Values | null,
  groups: number,
  geometry: Pick<Dense, 'stride' | 'before' | 'dilation'>,
): Dense {
  const [out, perGroup, kh, kw] = shape as [number, number, number, number];
  const taps = kh * kw;
  const inputs = perGroup * groups;
  const spread = new Float64Array(out * inputs * taps);
  for (let o = 0; o < out; o++) {
    const first = Math.floor(o / (out / groups)) * perGroup;
    for (let i = 0; i < perGroup * taps; i++)
      spread[(o * inputs + first) * taps + i] = weight[o * perGroup * taps + i]!;
  }
  const constant = Float64Array.from({ length: out }, (_, o) => bias?.[o] ?? 0);
  return {
    ...geometry,
    out,
    in: inputs,
    kernel: [kh, kw],
    weight: spread,
    weightTerms: abs(spread),
    bias: constant,
    biasTerms: abs(constant),
  };
}

export interface Statistics {
  readonly gamma: Values | null;
  readonly beta: Values | null;
  readonly mean: Values;
  readonly variance: Values;
  readonly eps: number;
}

export function denseBatchNorm(conv: Dense, { gamma, beta, mean, variance, eps }: Statistics): Dense {
  const scale = Float64Array.from({ length: conv.out }, (_, o) => (gamma?.[o] ?? 1) / Math.sqrt(variance[o]! + eps));
  const scaled = denseScale(conv, scale);
  return {
    ...scaled,
    bias: scaled.bias.map((b, o) => b - mean[o]! * scale[o]! + (beta?.[o] ?? 0)),
    biasTerms: scaled.biasTerms.map((b, o) => b + Math.abs(mean[o]! * scale[o]!) + Math.abs(beta?.[o] ?? 0)),
  };
}

export function denseScale(conv: Dense, scale: Values): Dense {
  const row = conv.weight.length / conv.out;
  return {
    ...conv,
    weight: conv.weight.map((w, i) => w * scale[Math.floor(i / row)]!),
    weightTerms: conv.weightTerms.map((w, i) => w * Math.abs(scale[Math.floor(i / row)]!)),
    bias: conv.bias.map((b, o) => b * scale[o]!),
    biasTerms: conv.biasTerms.map((b, o) => b * Math.abs(scale[o]!)),
  };
}

/** The same convolution on a grid that holds its taps; throws if one is not zero and has no place. */
export function denseAlign(conv: Dense, grid: DenseGrid): Dense {
  const [kh, kw] = conv.kernel as [number, number];
  const [height, width] = grid.kernel as [number, number];
  const weight = new Float64Array(conv.out * conv.in * height * width);
  const weightTerms = new Float64Array(weight.length);
  for (let index = 0; index < conv.weight.length; index++) {
    if (conv.weightTerms[index] === 0) continue;
    const tap = [Math.floor(index / kw) % kh, index % kw];
    const [y, x] = tap.map(
      (t, a) => (grid.before[a]! - conv.before[a]! + t * conv.dilation[a]!) / grid.dilation[a]!,
    ) as [number, number];
    if (!Number.isInteger(y) || !Number.isInteger(x) || y < 0 || x < 0 || y >= height || x >= width) {
      throw new Error(`no place for tap ${tap} on the grid ${JSON.stringify(grid)}`);
    }
    const at = (Math.floor(index / (kh * kw)) * height + y) * width + x;
    weight[at] = conv.weight[index]!;
    weightTerms[at] = conv.weightTerms[index]!;
  }
  return { ...conv, ...grid, weight, weightTerms };
}

export function denseAdd(convs: readonly Dense[], grid: DenseGrid): Dense {
  const sum = (arrays: readonly Float64Array[]) => arrays.reduce((a, b) => a.map((v, i) => v + b[i]!));
  const aligned = convs.map((conv) => denseAlign(conv, grid));
  return {
    ...aligned[0]!,
    weight: sum(aligned.map((c) => c.weight)),
    weightTerms: sum(aligned.map((c) => c.weightTerms)),
    bias: sum(aligned.map((c) => c.bias)),
    biasTerms: sum(aligned.map((c) => c.biasTerms)),
  };
}

/** The second of the first. */
export function denseCompose(first: Dense, second: Dense, grid: DenseGrid): Dense {
  const [k1h, k1w] = first.kernel as [number, number];
  const [k2h, k2w] = second.kernel as [number, number];
  const [height, width] = grid.kernel as [number, number];
  const before = first.before.map((p, a) => p + first.stride[a]! * second.before[a]!);
  const weight = new Float64Array(second.out * first.in * height * width);
  const weightTerms = new Float64Array(weight.length);
  const bias = second.bias.slice();
  const biasTerms = second.biasTerms.slice();
  for (let o = 0; o < second.out; o++) {
    for (let m = 0; m < first.out; m++) {
      for (let s = 0; s < k2h * k2w; s++) {
        const outer = (o * first.out + m) * k2h * k2w + s;
        bias[o]! += second.weight[outer]! * first.bias[m]!;
        biasTerms[o]! += second.weightTerms[outer]! * first.biasTerms[m]!;
        if (second.weightTerms[outer] === 0) continue;
        for (let i = 0; i < first.in; i++) {
          for (let t = 0; t < k1h * k1w; t++) {
            const inner = (m * first.in + i) * k1h * k1w + t;
            if (first.weightTerms[inner] === 0) continue;
            const taps = [
              [Math.floor(s / k2w), Math.floor(t / k1w)],
              [s % k2w, t % k1w],
            ] as const;
            const [y, x] = taps.map(([u, v], a) => {
              const pixel = u * second.dilation[a]! * first.stride[a]! + v * first.dilation[a]! - before[a]!;
              return (pixel + grid.before[a]!) / grid.dilation[a]!;
            }) as [number, number];
            const at = ((o * first.in + i) * height + y) * width + x;
            weight[at]! += second.weight[outer]! * first.weight[inner]!;
            weightTerms[at]! += second.weightTerms[outer]! * first.weightTerms[inner]!;
          }
        }
      }
    }
  }
  const stride = first.stride.map((s, a) => s * second.stride[a]!);
  return { out: second.out, in: first.in, stride, ...grid, weight, weightTerms, bias, biasTerms };
}

/** Outputs side by side; with `split` each reads the next of the input channels, otherwise all read the same. */
export function denseConcat(convs: readonly Dense[], grid: DenseGrid, split: boolean): Dense {
  const aligned = convs.map((conv) => denseAlign(conv, grid));
  const inputs = split ? aligned.reduce((sum, conv) => sum + conv.in, 0) : aligned[0]!.in;
  const taps = grid.kernel[0]! * grid.kernel[1]!;
  const rows = (pick: (conv: Dense) => Float64Array) => {
    const values: number[] = [];
    let begin = 0;
    for (const conv of aligned) {
      for (let o = 0; o < conv.out; o++) {
        const row = new Float64Array(inputs * taps);
        row.set(pick(conv).subarray(o * conv.in * taps, (o + 1) * conv.in * taps), begin * taps);
        values.push(...row);
      }
      if (split) begin += conv.in;
    }
    return Float64Array.from(values);
  };
  const join = (pick: (conv: Dense) => Float64Array) => Float64Array.from(aligned.flatMap((conv) => [...pick(conv)]));
  return {
    ...aligned[0]!,
    out: aligned.reduce((sum, conv) => sum + conv.out, 0),
    in: inputs,
    weight: rows((c) => c.weight),
    weightTerms: rows((c) => c.weightTerms),
    bias: join((c) => c.bias),
    biasTerms: join((c) => c.biasTerms),
  };
}

/** The part of a dense kernel that a grouped layout holds; throws if it would leave out anything. */
export function denseToGroups(conv: Dense, values: Float64Array, groups: number): Float64Array {
  const taps = conv.kernel[0]! * conv.kernel[1]!;
  const perGroup = conv.in / groups;
  const kept = new Float64Array((conv.out * conv.in * taps) / groups);
  for (let index = 0; index < values.length; index++) {
    const o = Math.floor(index / (conv.in * taps));
    const i = Math.floor(index / taps) % conv.in;
    const group = Math.floor(o / (conv.out / groups));
    if (Math.floor(i / perGroup) !== group) {
      if (values[index] !== 0) throw new Error(`output ${o} needs input ${i}, which ${groups} groups leave out`);
      continue;
    }
    kept[(o * perGroup + (i % perGroup)) * taps + (index % taps)] = values[index]!;
  }
  return kept;
}
