import { Tensor } from '../../tensor/tensor';
import { isFloat } from './arithmetic';
import type { Budget } from './budget';

/** What a BatchNormalization does besides its statistics; momentum only where it takes those of x itself (training mode). */
interface BatchNorm {
  readonly eps: number;
  readonly momentum?: number;
}

/**
 * Each channel less its mean, over its deviation, scaled and moved: in float64, rounded once. Weights are standardised so (NFNets, BiT).
 *
 * @param x [N, C, ...]
 * @param statistics scale, bias, mean and variance, [C] each
 * @returns the result; with a momentum also mean and variance, moved to those of x
 */
export function batchNormalized(
  x: Tensor,
  statistics: readonly Tensor[],
  { eps, momentum }: BatchNorm,
  budget: Budget,
): readonly Tensor[] | undefined {
  const [batch = 0, channels = 0, ...places] = x.shape;
  const isUsable = statistics.every(({ dtype, shape }) => isFloat(dtype) && shape.join() === String(channels));
  if (!isFloat(x.dtype) || !isUsable || x.size === 0 || !budget.spend(2 * x.size)) return undefined;
  const made = [x, statistics[2]!, statistics[3]!].map(({ dtype, shape }) => {
    const data = budget.allocate(dtype, shape);
    return data && new Tensor(dtype, shape, data);
  });
  if (made.includes(undefined)) return undefined;
  const [result, ...moved] = made as [Tensor, Tensor, Tensor];
  const xs = x.data as Float64Array;
  const plane = places.reduce((product, size) => product * size, 1);
  const results = result.data as Float64Array;
  /** Mean of a channel's values, or of their squared distances from `centre`. Plain loops: weights may be many. */
  const meanOf = (channel: number, centre?: number) => {
    let sum = 0;
    for (let n = 0; n < batch; n++) {
      const start = (n * channels + channel) * plane;
      if (centre === undefined) for (let place = start; place < start + plane; place++) sum += xs[place]!;
      else for (let place = start; place < start + plane; place++) sum += (xs[place]! - centre) ** 2;
    }
    return sum / (batch * plane);
  };
  for (let channel = 0; channel < channels; channel++) {
    const [scale, bias, ...given] = statistics.map(({ data }) => Number(data[channel])) as [
      number,
      number,
      number,
      number,
    ];
    let [mean, variance] = given;
    if (momentum !== undefined) {
      mean = meanOf(channel);
      variance = meanOf(channel, mean);
      for (const [i, own] of [mean, variance].entries())
        moved[i]!.data[channel] = given[i]! * momentum + own * (1 - momentum);
    }
    const factor = scale / Math.sqrt(variance + eps);
    for (let n = 0; n < batch; n++) {
      const start = (n * channels + channel) * plane;
      for (let place = start; place < start + plane; place++) results[place] = (xs[place]! - mean) * factor + bias;
    }
  }
  return momentum === undefined ? [result] : [result, ...moved];
}
