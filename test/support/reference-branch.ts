import type { Branch, Stage } from '../../lib/ops';
import { toFloat64 } from '../../lib/tensor/half';
import type { Tensor } from '../../lib/tensor/tensor';
import { type Dense, type DenseGrid, dense, denseAdd, denseBatchNorm, denseCompose } from './reference-algebra';

const PLAIN = { stride: [1, 1], before: [0, 0], dilation: [1, 1] };

/** Kernel, first pixel and dilation of a convolution on its own. */
const gridOf = ({ kernel, before, dilation }: Dense): DenseGrid => ({ kernel, before, dilation });

function depthwise(channels: number, kernel: readonly number[], value: number, geometry: typeof PLAIN): Dense {
  const [height, width] = kernel as [number, number];
  const weight = new Float64Array(channels * height * width).fill(value);
  return dense(weight, [channels, 1, height, width], null, channels, geometry);
}

function values(tensor: Tensor | null | undefined): Float64Array | null {
  return tensor == null ? null : toFloat64(tensor);
}

function convolution(stage: Extract<Stage, { kind: 'conv2d' }>, frame: readonly number[]): Dense {
  const { weight, groups, padding, dilation } = stage;
  const before = [padding[0] + frame[0]!, padding[1] + frame[1]!];
  const geometry = { stride: [...stage.stride], before, dilation: [...dilation] };
  const stored = dense(toFloat64(weight), weight.shape, values(stage.bias), groups, geometry);
  if (!stage.plusIdentity) return stored;
  return denseAdd([stored, depthwise(stored.out, [1, 1], 1, geometry)], gridOf(stored));
}

/** One branch in float64 as the dense convolution that it is, with the sums of its terms. */
export function denseBranch({ stages }: Branch, channels: number, grid: DenseGrid): Dense {
  let result: Dense | undefined;
  let frame: readonly number[] = [0, 0];
  for (const stage of stages) {
    if (stage.kind === 'pad_border') {
      frame = stage.padding;
    } else if (stage.kind === 'batch_norm') {
      result = denseBatchNorm(result ?? depthwise(channels, [1, 1], 1, PLAIN), {
        gamma: values(stage.weight),
        beta: values(stage.bias),
        mean: toFloat64(stage.runningMean),
        variance: toFloat64(stage.runningVar),
        eps: stage.eps,
      });
    } else if (stage.kind === 'scale' || stage.kind === 'bias') {
      throw new Error('no block has a bare scale or bias');
    } else {
      const next =
        stage.kind === 'conv2d'
          ? convolution(stage, frame)
          : depthwise(result?.out ?? channels, stage.kernel, 1 / (stage.kernel[0] * stage.kernel[1]), {
              stride: [...stage.stride],
              before: [stage.padding[0] + frame[0]!, stage.padding[1] + frame[1]!],
              dilation: [1, 1],
            });
      result = result === undefined ? next : denseCompose(result, next, grid);
      frame = [0, 0];
    }
  }
  return result!;
}

/** The sum of a block's branches. */
export function denseBlock(branches: readonly Branch[], channels: number, grid: DenseGrid): Dense {
  return denseAdd(
    branches.map((branch) => denseBranch(branch, channels, grid)),
    grid,
  );
}
