import type { Stage } from '../ops';
import type { BinaryFunction } from '../ops/tensor-op';
import { toFloat64 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';

export interface ConstantArithmetic {
  readonly function: BinaryFunction;
  readonly constant: Tensor;
  /** Whether it is the first operand. */
  readonly isFirst: boolean;
}

/** A function of an image and a constant: arithmetic with one value for each channel of images, or one for all, as stages of a branch; else why it is none. */
export function constantStages(
  { function: name, constant, isFirst }: ConstantArithmetic,
  channels: number,
): readonly Stage[] | string {
  if (name === 'div' && isFirst) return 'it divides a constant';
  const values = perChannel(constant, channels);
  if (values === undefined) return 'its constant differs from pixel to pixel';
  const vector = (of: (value: number) => number) => new Tensor('F64', [channels], values.map(of));
  switch (name) {
    case 'mul':
      return [{ kind: 'scale', scale: vector((v) => v) }];
    case 'div':
      return values.includes(0) ? 'it divides by 0' : [{ kind: 'scale', scale: vector((v) => 1 / v) }];
    case 'add':
      return [{ kind: 'bias', bias: vector((v) => v) }];
    case 'prelu':
      return 'it depends on signs';
    case 'sub':
      if (!isFirst) return [{ kind: 'bias', bias: vector((v) => -v) }];
      return [
        { kind: 'scale', scale: vector(() => -1) },
        { kind: 'bias', bias: vector((v) => v) },
      ];
    default:
      return `its function is ${name}`;
  }
}

function perChannel(constant: Tensor, channels: number): Float64Array | undefined {
  if (constant.shape.length > 4) return undefined;
  if (constant.size === 1) return new Float64Array(channels).fill(toFloat64(constant)[0]!);
  // [C, 1, 1] and [1, C, 1, 1]; [C] alone meets the width.
  const shape = [...Array<number>(Math.max(0, 4 - constant.shape.length)).fill(1), ...constant.shape];
  const fits = shape.length === 4 && shape[1] === channels && shape[0] === 1 && shape[2] === 1 && shape[3] === 1;
  return fits ? toFloat64(constant) : undefined;
}
