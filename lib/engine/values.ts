import { type Graph, inferShapes, outputsOf } from '../graph';
import type { TensorStub } from '../tensor/schemas';

/** An input or output of an engine. */
export interface EngineValue {
  readonly name: string;
  /** Type of the elements. A run takes half types too, and widens them. */
  readonly dtype: 'F32';
  /**
   * A size, the name of one that is open (`'N'` is the number of images, `'4 N'` four times as many), or null; null as a whole where the
   * graph does not tell.
   */
  readonly shape: readonly (number | string | null)[] | null;
}

/** What runs take and give, as far as the graph tells. @param channels of an image */
export function valuesOf(graph: Graph, stubs: ReadonlyMap<string, TensorStub>, channels: number) {
  const { input, inputShape } = graph;
  const shapes = (images: number) => inputShape && inferShapes(graph, [images, ...inputShape], stubs);
  const one = shapes(1);
  const two = orUndefined(() => shapes(2));
  const images = one === undefined || two !== undefined ? 'N' : 1;
  const inputs: readonly EngineValue[] = [
    { name: input, dtype: 'F32', shape: [images, ...(inputShape ?? [channels, 'H', 'W'])] },
  ];
  const outputs: readonly EngineValue[] = outputsOf(graph).map((name) => ({
    name,
    dtype: 'F32',
    shape: one === undefined ? null : openShape(one.get(name)!, (two ?? one).get(name)!),
  }));
  return { inputs, outputs };
}

/** A network that keeps the number of images in a shape of its own takes no other. */
function orUndefined<T>(infer: () => T): T | undefined {
  try {
    return infer();
  } catch {
    return undefined;
  }
}

/** The sizes for one image and for two as one shape. */
function openShape(one: readonly number[], two: readonly number[]): EngineValue['shape'] {
  return one.map((size, axis) => {
    if (two[axis] === size) return size;
    return two[axis] === 2 * size ? (size === 1 ? 'N' : `${size} N`) : null;
  });
}
