import { Constants } from '../../onnx/constants';
import type { Graph as OnnxGraph, ValueInfo } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import type { Wiring } from '../../onnx/wiring';
import { elementCount, formatShape, type Tensor } from '../../tensor/tensor';

/** Sizes that stand for those that a model leaves open, in two inputs: odd, so that what rounds shows itself. */
const BATCHES = [2, 3] as const;
const HEIGHTS = [224, 301] as const;
const WIDTHS = [256, 245] as const;

export type Sizes = readonly number[];

/** The same network with two inputs: what has one value in both does not depend on what the model leaves open. */
export class Worlds {
  readonly shapes: readonly [Map<string, Sizes>, Map<string, Sizes>];
  private readonly constants: readonly [Constants, Constants];

  /** `channels`: of the input, where the model itself does not tell. */
  constructor(graph: OnnxGraph, wiring: Wiring, input: ValueInfo, channels: number | undefined) {
    const open = [BATCHES, [channels ?? 0, channels ?? 0], HEIGHTS, WIDTHS] as const;
    const dims = input.type?.tensorType?.shape?.dim ?? [{}, {}, {}, {}];
    const sizes = (world: 0 | 1) =>
      dims.map((dim, axis) => {
        const value = 'value' in dim ? dim.value : undefined;
        return value?.case === 'dimValue' && value.value > 0n ? Number(value.value) : (open[axis]?.[world] ?? 0);
      });
    this.shapes = [new Map([[input.name, sizes(0)]]), new Map([[input.name, sizes(1)]])];
    this.constants = [new Constants(graph, wiring, this.shapes[0]), new Constants(graph, wiring, this.shapes[1])];
  }

  /** What a value always is. */
  constant(value: string): Tensor | undefined {
    const first = this.constants[0].get(value);
    if (first === undefined) return undefined;
    const second = this.constants[1].get(value);
    return second !== undefined && isSame(first, second) ? first : undefined;
  }

  /** What a value of shape arithmetic is in each world. */
  numbers(value: string): readonly [readonly number[], readonly number[]] | undefined {
    const found = this.constants.map((constants) => constants.get(value));
    const [first, second] = found;
    if (first === undefined || second === undefined || first.size > MOST_SIZES) return undefined;
    return [numbersOf(first), numbersOf(second)];
  }

  /** Whether a value is known before the network runs, be it of the input's shape. */
  isKnown(value: string): boolean {
    return this.constants.every((constants) => constants.get(value) !== undefined);
  }
}

/** More elements than shape arithmetic ever has. */
const MOST_SIZES = 4096;

function isSame(a: Tensor, b: Tensor): boolean {
  if (a.data.buffer === b.data.buffer && a.data.byteOffset === b.data.byteOffset) return true;
  if (a.dtype !== b.dtype || formatShape(a.shape) !== formatShape(b.shape)) return false;
  const bytes = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return elementCount(a.shape) === 0 || bytes(a).equals(bytes(b));
}
