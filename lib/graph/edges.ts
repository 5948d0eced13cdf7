import { types } from 'node:util';
import { checkArgument } from '../arguments/check';
import { isListOf, recordOf, type Schema, value } from '../arguments/schemas';
import { quote, show } from '../arguments/show';
import { suggestion } from '../arguments/suggest';
import { RepfuseError } from '../errors';
import type { ComputedDType, DType } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { narrowed } from '../tensor/round';
import { batchOf, formatShape, isTensor, Tensor } from '../tensor/tensor';
import { type Graph, type GraphInput, inputsOf } from './graph';
import type { Shape } from './operators/operator';

/** What a network of one input takes, or one for each input by its name. */
export type ForInputs<T> = T | Readonly<Record<string, T>> | ReadonlyMap<string, T>;
/** What a run takes. */
export type InputTensors = ForInputs<Tensor>;
export type InputShapes = ForInputs<readonly number[]>;

/** Up to which float32 holds all integers. */
const MAX_WHOLE = 2 ** 24;

const FLOATS: readonly DType[] = ['F32', 'F16', 'BF16'];
/** What an input of a type takes: what becomes float32 without loss, but for F64, which is rounded. */
const TAKEN: Readonly<Record<ComputedDType, readonly DType[]>> = {
  F32: FLOATS,
  F16: FLOATS,
  BF16: FLOATS,
  F64: ['F64', ...FLOATS],
  I64: ['I64', 'I32', 'I16', 'I8', 'U8'],
  I32: ['I32', 'I16', 'I8', 'U8'],
  I16: ['I16', 'I8', 'U8'],
  I8: ['I8'],
  U8: ['U8'],
  BOOL: ['BOOL'],
};

/**
 * The tensors of a graph's inputs in their order, as float32.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT naming the input that is missing, unknown or of another type; ERR_REPFUSE_RANGE naming the one that
 *   holds integers beyond 2^24, which float32 has no longer all of
 */
export function bindInputs(graph: Graph, given: InputTensors): readonly Tensor[] {
  const tensors = inOrder(graph, given, isTensor, 'tensor');
  return inputsOf(graph).map((input, i) => widened(input, tensors[i]!, graph.inputs === undefined));
}

const SHAPE: Schema<Shape> = value('an array of numbers', (given) =>
  isListOf(given, (size) => typeof size === 'number'),
);

/** The shapes of a graph's inputs in their order. @throws ERR_REPFUSE_INVALID_ARGUMENT naming the input */
export function bindShapes(graph: Graph, given: InputShapes): readonly Shape[] {
  const inputs = inputsOf(graph);
  const isOne = (item: unknown): item is Shape => Array.isArray(item);
  const name = (i: number) => (inputs.length === 1 ? 'shape' : `shape of ${quote(inputs[i]!.id)}`);
  return inOrder(graph, given, isOne, 'shape').map((shape, i) => [...checkArgument(name(i), SHAPE, shape)]);
}

/** The shapes of inputs of one image or item, where only their number is open: a name that stands first alone. */
export function shapesForOne(graph: Graph): readonly Shape[] | undefined {
  if (graph.inputs === undefined) return graph.inputShape && [[1, ...graph.inputShape]];
  const inputs = inputsOf(graph);
  const isFixed = inputs.every(({ shape }) => shape.slice(1).every((size) => typeof size === 'number'));
  return isFixed ? inputs.map(({ shape }) => shape.map((size) => (typeof size === 'number' ? size : 1))) : undefined;
}

/** @throws ERR_REPFUSE_SHAPE naming the input of another rank or size than the graph says, or of two sizes for one name */
export function expectShapes(graph: Graph, shapes: readonly Shape[]): void {
  const open = new Map<string, number>();
  for (const [i, { id, shape: expected }] of inputsOf(graph).entries()) {
    const shape = shapes[i]!;
    const fits =
      shape.length === expected.length &&
      expected.every((size, axis) => {
        if (typeof size === 'string' && !open.has(size)) open.set(size, shape[axis]!);
        return (typeof size === 'number' ? size : open.get(size)) === shape[axis];
      });
    if (fits) continue;
    const told =
      graph.inputs === undefined ? `images ${batchOf(expected.slice(1))}` : `[${expected.join(', ')}] for ${quote(id)}`;
    const sizes = [...open].filter(([name]) => expected.includes(name) && graph.inputs !== undefined);
    const because = sizes.length === 0 ? '' : ` (${sizes.map(([name, size]) => `${name} is ${size}`).join(', ')})`;
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${told}${because} but received ${formatShape(shape)}`,
      graph.inputs === undefined ? {} : { input: id },
    );
  }
}

/** What an image's open sizes are, by their usual names. */
const SIZE_WORDS: Readonly<Record<string, string>> = { H: 'height', W: 'width' };

/** @throws ERR_REPFUSE_SHAPE naming the open size that is no multiple of what it must be */
export function expectMultiples(graph: Graph, shapes: readonly Shape[]): void {
  const { multiples } = graph;
  if (multiples === undefined) return;
  for (const [i, { id, shape }] of inputsOf(graph).entries()) {
    for (const [axis, name] of shape.entries()) {
      const multiple = typeof name === 'string' && Object.hasOwn(multiples, name) ? multiples[name]! : 1;
      const size = shapes[i]![axis]!;
      if (size % multiple === 0) continue;
      const word = graph.inputs === undefined ? SIZE_WORDS[name as string] : undefined;
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected a ${word ?? `size ${name} of ${quote(id)}`} that is a multiple of ${multiple} but received ${size}`,
        { input: id, multiple },
      );
    }
  }
}

/** A result as a caller gets it. @throws ERR_REPFUSE_RANGE naming an integer result that holds what its type, or float32, does not hold exactly */
export function asOutput({ outputTypes }: Graph, id: string, result: Tensor): Tensor {
  const type = Object.hasOwn(outputTypes ?? {}, id) ? outputTypes![id]! : 'F32';
  const data = result.data as Float32Array;
  switch (type) {
    case 'F32':
      return result;
    case 'F16':
    case 'BF16':
      return narrowed(result, type);
    case 'F64':
      return new Tensor('F64', result.shape, Float64Array.from(data));
    case 'BOOL':
      return new Tensor(
        'BOOL',
        result.shape,
        Uint8Array.from(data, (each) => (each === 0 ? 0 : 1)),
      );
    default: {
      const [least, most, array] = INTEGERS[type];
      for (const each of data) {
        if (Number.isInteger(each) && each >= least && each <= most) continue;
        throw new RepfuseError(
          'ERR_REPFUSE_RANGE',
          `Expected integers from ${least} to ${most} for ${quote(id)}, which is ${type}, but the network gives ${each}`,
          { output: id },
        );
      }
      return new Tensor(type, result.shape, array(data));
    }
  }
}

type IntegerType = 'I64' | 'I32' | 'I16' | 'I8' | 'U8';
const INTEGERS: Readonly<
  Record<IntegerType, readonly [least: number, most: number, of: (data: Float32Array) => Tensor['data']]>
> = {
  I64: [-MAX_WHOLE, MAX_WHOLE, (data) => BigInt64Array.from(Array.from(data, BigInt))],
  I32: [-MAX_WHOLE, MAX_WHOLE, (data) => new Int32Array(data)],
  I16: [-32768, 32767, (data) => new Int16Array(data)],
  I8: [-128, 127, (data) => new Int8Array(data)],
  U8: [0, 255, (data) => new Uint8Array(data)],
};

/** By the names of inputs, or what is given where there is one input alone. */
function inOrder<T>(
  graph: Graph,
  given: ForInputs<T>,
  isOne: (item: unknown) => item is T,
  kind: 'tensor' | 'shape',
): readonly T[] {
  const inputs = inputsOf(graph);
  const names = inputs.map(({ id }) => id);
  if (isOne(given) || typeof given !== 'object' || given === null) {
    if (inputs.length === 1) return [given as T];
    throw invalid(
      `an object with a ${kind} for each of ${names.map((name) => quote(name)).join(', ')}`,
      given,
      names[0]!,
    );
  }
  const found = new Map<unknown, unknown>(
    types.isMap(given) ? given : Object.entries(checkArgument('input', recordOf<T>(), given)),
  );
  if (inputs.length === 1 && !found.has(names[0])) return [given as T]; // no tensor, which is told where it is checked
  const unknown = [...found.keys()].find((name) => !names.includes(name as string));
  if (unknown !== undefined)
    throw invalid(
      `a ${kind} for inputs of the network (${names.map((name) => quote(name)).join(', ')})`,
      `one for ${show(unknown)}${suggestion(String(unknown), names)}`,
      String(unknown),
    );
  return names.map((name) => {
    const item = found.get(name);
    if (!found.has(name) || !isOne(item))
      throw invalid(`a ${kind} for the input ${quote(name)}`, found.has(name) ? item : undefined, name);
    return item;
  });
}

function invalid(expected: string, received: unknown, input: string): RepfuseError {
  const told = typeof received === 'string' ? received : received === undefined ? 'none' : show(received);
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} but received ${told}`, {
    argument: 'input',
    input,
  });
}

/** @param isPlain whether the graph says nothing of types */
function widened({ id, type = 'F32' }: GraphInput, tensor: Tensor, isPlain: boolean): Tensor {
  const taken = TAKEN[type];
  if (!isTensor(tensor) || !taken.includes(tensor.dtype)) {
    const received = isTensor(tensor) ? tensor.dtype : show(tensor);
    const expected = isPlain
      ? 'a float32 tensor (or F16, BF16) for the input'
      : `a tensor of ${taken.join(' or ')} for the input ${quote(id)}`;
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} but received ${received}`, {
      argument: 'input',
      ...(isPlain ? {} : { input: id }),
    });
  }
  if (tensor.dtype === 'F32') return tensor;
  return Tensor.f32(
    tensor.shape,
    FLOATS.includes(type) || type === 'F64' ? toFloat32(tensor) : wholeNumbers(id, tensor),
  );
}

function wholeNumbers(input: string, { dtype, data }: Tensor): Float32Array {
  const given = data as ArrayLike<number | bigint>;
  const values = new Float32Array(given.length);
  for (let i = 0; i < values.length; i++) {
    const each = Number(given[i]);
    if (Math.abs(each) > MAX_WHOLE)
      throw new RepfuseError(
        'ERR_REPFUSE_RANGE',
        `Expected integers to 2^24 for the input ${quote(input)}, which float32 holds, but received ${each} (${dtype})`,
        { argument: 'input', input },
      );
    values[i] = each;
  }
  return values;
}
