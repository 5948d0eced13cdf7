import { type Graph, inferShapes, inputsOf, outputsOf } from '../graph';
import { operatorOf } from '../graph/operators';
import type { ComputedDType } from '../tensor/dtype';
import type { TensorStub } from '../tensor/schemas';

/** An input or output of an engine. */
export interface EngineValue {
  readonly name: string;
  /** Type of the elements. A run takes half types for F32 and float32 for half types too, and smaller integers for I64 and I32. */
  readonly dtype: ComputedDType;
  /**
   * A size, the name of one that is open (`'N'` is the number of images, `'4 N'` four times as many), or null; null as a whole where the
   * graph does not tell.
   */
  readonly shape: readonly (number | string | null)[] | null;
}

/** What runs take and give, as far as the graph tells. @param channels of an image */
export function valuesOf(graph: Graph, stubs: ReadonlyMap<string, TensorStub>, channels: number) {
  const isTold = graph.inputs !== undefined || graph.inputShape !== undefined;
  const open = openSizes(graph);
  const shapes = (sample: 0 | 1) =>
    isTold ? orUndefined(() => inferShapes(graph, sampled(graph, open, sample), stubs)) : undefined;
  const one = shapes(0);
  const two = shapes(1);
  const images = isTold && two === undefined && graph.inputs === undefined ? 1 : 'N';
  const inputs = inputsOf(graph).map(({ id, shape, type = 'F32' }): EngineValue => {
    const own =
      graph.inputs === undefined
        ? [images, ...(graph.inputShape === undefined ? [channels, 'H', 'W'] : shape.slice(1))]
        : shape;
    return { name: id, dtype: type, shape: own };
  });
  const outputs = outputsOf(graph).map((name): EngineValue => {
    const [first, second = first] = [one?.get(name), two?.get(name)];
    const node = graph.nodes.find(({ id }) => id === name)!;
    const dataAxis = operatorOf(node).dataAxis?.(node);
    const told = first === undefined ? null : openShape(first, second!, open);
    return {
      name,
      dtype: graph.outputTypes?.[name] ?? 'F32',
      shape: told?.map((size, axis) => (axis === dataAxis ? null : size)) ?? null,
    };
  });
  return { inputs, outputs };
}

/** Two sizes that stand for each open one. */
type OpenSizes = ReadonlyMap<string, readonly [number, number]>;

function openSizes(graph: Graph): OpenSizes {
  const { inputShape = [0, 0, 0] } = graph;
  if (graph.inputs === undefined)
    return new Map([
      ['N', [1, 2]],
      ['H', [inputShape[1], 3 * inputShape[1]]],
      ['W', [inputShape[2], 5 * inputShape[2]]],
    ]);
  const names = new Set(graph.inputs.flatMap(({ shape }) => shape.filter((size) => typeof size === 'string')));
  return new Map([...names].map((name, i) => [name, [32 * (i + 1), 64 * (i + 2)]]));
}

function sampled(graph: Graph, open: OpenSizes, sample: 0 | 1): ReadonlyMap<string, readonly number[]> {
  const size = (each: number | string) => (typeof each === 'number' ? each : open.get(each)![sample]);
  return new Map(inputsOf(graph).map(({ id, shape }) => [id, shape.map(size)]));
}

/** A network may keep the number of images in a shape of its own, or take no size but a few. */
function orUndefined<T>(infer: () => T): T | undefined {
  try {
    return infer();
  } catch {
    return undefined;
  }
}

/** The sizes for both samples as one shape. */
function openShape(one: readonly number[], two: readonly number[], open: OpenSizes): EngineValue['shape'] {
  return one.map((size, axis) => {
    if (two[axis] === size) return size;
    for (const [name, [first, second]] of open) {
      const times = size / first;
      if (Number.isInteger(times) && two[axis] === times * second) return times === 1 ? name : `${times} ${name}`;
    }
    return null;
  });
}
