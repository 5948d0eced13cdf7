import { elementCount, formatShape, type Tensor } from '../tensor/tensor';
import { Constants } from './constants';
import { FixedConstants } from './fixed-constants';
import type { Graph } from './schema/onnx_pb';
import type { Wiring } from './wiring';

export type Sizes = readonly number[];

/** Values by name. */
export type Shapes = ReadonlyMap<string, Sizes>;

/** Batch, channels, height and width that stand for those that a model leaves open, in two inputs: odd ones too, so that what rounds shows itself. */
const OPEN: readonly (readonly [number, number])[] = [
  [2, 3],
  [0, 0], // nothing can stand for channels
  [224, 301],
  [256, 245],
];

/** Sizes of an input in one of the two; 0 for what cannot be chosen. */
export function probeSizes(dims: readonly (number | undefined)[], sample: 0 | 1): Sizes {
  return dims.map((size, axis) => size ?? OPEN[axis]?.[sample] ?? 0);
}

/** The same network with two inputs: what has one value in both does not depend on what the model leaves open. */
export class ShapeProbe {
  readonly constants: readonly [Constants, Constants];
  private readonly inBoth = new Map<string, Tensor | undefined>();

  /**
   * shapes: of the values of each; looked at when a value is asked for, so they may come later. fixed: what does not depend on them.
   */
  constructor(
    graph: Graph,
    wiring: Wiring,
    readonly shapes: readonly [Shapes, Shapes],
    private readonly fixed = new FixedConstants(graph),
  ) {
    this.constants = [new Constants(graph, wiring, shapes[0], fixed), new Constants(graph, wiring, shapes[1], fixed)];
  }

  /** What a value always is. */
  get(value: string): Tensor | undefined {
    if (this.fixed.settles(value)) return this.fixed.get(value);
    if (!this.inBoth.has(value)) {
      const [first, second] = this.constants.map((constants) => constants.get(value));
      this.inBoth.set(value, first !== undefined && second !== undefined && isSame(first, second) ? first : undefined);
    }
    return this.inBoth.get(value);
  }

  /** Whether a value is always the same. */
  has(value: string): boolean {
    return this.fixed.has(value) || this.get(value) !== undefined;
  }

  /** The shape that a value always has; undefined also for what depends on open sizes. */
  shapeOf(value: string): Sizes | undefined {
    const [first, second] = [this.shapes[0].get(value), this.shapes[1].get(value)];
    return first !== undefined && second !== undefined && first.join() === second.join() ? first : undefined;
  }
}

function isSame(a: Tensor, b: Tensor): boolean {
  if (a.dtype !== b.dtype || formatShape(a.shape) !== formatShape(b.shape)) return false;
  const bytes = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return elementCount(a.shape) === 0 || bytes(a).equals(bytes(b));
}
