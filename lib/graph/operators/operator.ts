import type { AffineOp } from '../../algebra/merge';
import { RepfuseError } from '../../errors';
import type * as ops from '../../ops';
import { type Padding4, toPadding4 } from '../../ops/geometry';
import type { NativeStep, TensorOp } from '../../ops/tensor-op';
import { allAgree } from '../../sizes/conditions';
import type { Size, Sizes } from '../../sizes/size';
import { parseSize } from '../../sizes/text';
import { formatShape, Tensor } from '../../tensor/tensor';
import type { Rule } from './fields';

/** What every node of a graph has. */
export interface NodeOf<Op extends string = string> {
  readonly id: string;
  readonly op: Op;
  readonly inputs: readonly string[];
}

export type Two = readonly [number, number];
/** Vertical and horizontal, or top, left, bottom, right. */
export type Sides = Two | readonly [number, number, number, number];

export type Shape = readonly number[];
/** In a field: a size, or an expression of the open sizes of the graph's inputs (`floor((H + 1) / 2)`). */
export type NodeSize = number | string;
export type ImageShape = readonly [number, number, number, number];
/** One of each input of a node; as many as the operator takes. */
export type Inputs<T> = readonly [T, ...T[]];
/** Finds the shape of a tensor of the state dict. */
export type ShapeOf = (key: string) => Shape;
/** Finds a tensor of the state dict, as float32. */
export type Weight = (key: string) => Tensor;

/** All that there is to say of one operator: of its nodes, of type `N`. What it lacks is left out. */
export interface Operator<N extends NodeOf> {
  /** How many inputs it takes, or [least, most]. */
  readonly inputs: number | Two;
  /** Its fields beside id, op and inputs, and what untrusted JSON must hold for them. */
  readonly fields: { readonly [Field in Exclude<keyof N, keyof NodeOf>]: Rule<N[Field]> };
  /** Which inputs were expected, where those of a node do not go with its fields. */
  readonly unfitInputs?: (node: N) => string | undefined;
  /** Keys of the tensors that a node reads. They are there, and floating-point, when their shapes are asked. */
  readonly keys?: (node: N) => readonly string[];

  /** Shape of the result. @throws ShapeMismatch */
  readonly shape: (node: N, inputs: Inputs<Sizes>, shapeOf: ShapeOf) => Sizes;
  /** Its fields that may hold expressions of open sizes: `NodeSize`s. */
  readonly sizes?: readonly (keyof N)[];
  /** Axes of the result, whatever the sizes are; as many as the first input has where nothing is said. */
  readonly rank?: (node: N, inputs: readonly number[], shapeOf: ShapeOf) => number;
  /** Whether the result has the channels of the first input. */
  readonly keepsChannels?: (node: N) => boolean;
  /** Channels of the result where they are others: of the inputs' channels, as far as they are known before the sizes are. */
  readonly channels?: (
    node: N,
    inputs: Inputs<number | undefined>,
    shapeOf: (key: string) => Shape | undefined,
  ) => number | undefined;
  /** Channels of the input, where a tensor of the node tells them. */
  readonly inputChannels?: (node: N, shapeOf: (key: string) => Shape | undefined) => number | undefined;

  /** The node as affine stages of a branch: it is a convolution where it stands alone. */
  readonly stages?: (node: N, tensor: (key: string) => Tensor) => ops.Stage[];
  /**
   * The node as an affine map of other values, if it is one; where nothing is said: `stages`, if it has them.
   *
   * @param channels of the first input, where it lies as images and they are known
   */
  readonly affine?: (node: N, channels: number | undefined, weight: Weight) => AffineOp | undefined;
  /** The node that maps magnitudes as this one maps values, if it is affine; undefined where it is not. */
  readonly magnitude?: (node: N) => N | undefined;
  /** What a convolution or a sum before it may do to its result in place of this node. */
  readonly epilogue?: (node: N) => Epilogue;
  /** It adds two values: a convolution that makes one of them may add the other. */
  readonly isSum?: true;
  /** `native` works on images too, and makes images of them. */
  readonly keepsImages?: true;
  /** The native operator on row-major tensors. */
  readonly native?: (node: N, weight: Weight) => TensorOp;
  /** Adds the engine's steps; where nothing is said: `native` on row-major tensors. @returns the value of the result */
  readonly steps?: (node: N, engine: StepBuilder) => number;
  /** Runs it eagerly, which verification compares with; where nothing is said: `native`, else `stages`. */
  readonly run?: <Result, Options>(node: N, inputs: Inputs<Tensor>, context: EagerContext<Result, Options>) => Result;
  /** Multiply-accumulates of a run. */
  readonly macs?: (node: N, input: Shape, result: Shape, shapeOf: ShapeOf) => number;
  /** Elements that an eager run takes beside its result: memory is counted before it is taken. */
  readonly workspace?: (node: N, input: Shape, shapeOf: ShapeOf) => number;
  /**
   * The axis of the result whose size the data tell (a list of what was found), if there is one. `shape` says the largest result, and so large natively makes
   * it, with -1 from the place on where it ends; what reads it runs eagerly, with the size that came out.
   */
  readonly dataAxis?: (node: N) => number | undefined;
  /** Its result is a tensor of the state dict, which is there already. */
  readonly isGiven?: true;

  /** As ONNX says it; of several nodes the last makes the result. @throws Unwritable */
  readonly onnx: OnnxTwin | ((node: N, context: OnnxContext) => OnnxNode | readonly OnnxNode[]);
}

/** A function of each value, in the words of the native side. */
export interface Epilogue {
  readonly activation: string;
  readonly alpha?: number;
  readonly beta?: number;
}

/** Builds the steps of one node in the engine. A value is a number, and lies as images or as a row-major tensor. */
export interface StepBuilder {
  readonly weight: Weight;
  /** Channels of the node's first input, as far as they are known before the sizes are. */
  readonly channels: number | undefined;
  /** Axes of the node's first input. */
  readonly rank: number;
  /** Whether the first input lies as images. */
  isImages(): boolean;
  /** Whether all inputs lie as images, of one rank. */
  areImages(): boolean;
  /** The first input as images. */
  image(): number;
  /** Adds a step that makes images of images: of the node's inputs where no values are given. @returns its value */
  images(step: NativeStep, values?: readonly number[]): number;
  /** Adds a step that makes a tensor of the node's inputs as tensors. @returns its value */
  tensor(step: NativeStep): number;
}

/** The eager operators that nodes need, blocking or on the pool. */
export interface EagerOps<Result, Options> {
  add(a: Tensor, b: Tensor, options: Options): Result;
  avgPool2d(x: Tensor, options: ops.AvgPool2dOptions & Options): Result;
  crop(x: Tensor, sides: ops.Padding, options: Options): Result;
  constant(x: Tensor): Result;
  globalAvgPool(x: Tensor, options: Options): Result;
  hardswish(x: Tensor, options: Options): Result;
  linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: Options): Result;
  maxPool2d(x: Tensor, options: ops.MaxPool2dOptions & Options): Result;
  frame(x: Tensor, values: Tensor, sides: Padding4, options: Options): Result;
  relu(x: Tensor, options: Options): Result;
  runBranch(branch: ops.Branch, x: Tensor, options: Options): Result;
  sigmoid(x: Tensor, options: Options): Result;
  silu(x: Tensor, options: Options): Result;
  squeezeExcite(x: Tensor, weights: ops.SqueezeExcite, options: Options): Result;
  tensorOp(op: TensorOp, inputs: readonly Tensor[], shape: Shape, options: Options): Result;
  /** One after the other. */
  chain(first: Result, ...then: readonly ((x: Tensor) => Result)[]): Result;
}

export interface EagerContext<Result, Options> {
  readonly ops: EagerOps<Result, Options>;
  readonly options: Options;
  readonly weight: Weight;
}

/** ONNX's operator of the same one input, result and numbers: it is read and written alike. */
export interface OnnxTwin {
  readonly type: string;
  /** Float attributes: the field of each, and what it is where a file leaves it out. */
  readonly floats?: Readonly<Record<string, readonly [field: string, otherwise: number]>>;
}

export interface OnnxContext {
  readonly opset: number;
  readonly weight: Weight;
  readonly shapeOf: ShapeOf;
}

export interface OnnxNode {
  readonly opType: string;
  /** Ids of values, keys of the state dict, tensors of the node's own, or null: left out. */
  readonly inputs: readonly (string | { readonly key: string } | OwnTensor | Tensor | null)[];
  /** Texts, integers (true is 1) and lists of them; floats are told apart. */
  readonly attributes?: Readonly<Record<string, string | number | boolean | Shape | { readonly float: number }>>;
  /** Of one before the last: its result is called `${id}.${part}`. */
  readonly part?: string;
  /** Of one of several results, which none but the others of these nodes read: what they are called as parts. */
  readonly results?: readonly string[];
}

/** A tensor that no state dict holds, called `${result}.${name}`; without a name by the place of the input. */
export interface OwnTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

/** What is wrong with a node, in words. */
export function nodeError({ id, op }: NodeOf, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Node ${id} (${op}): ${problem}`, { node: id });
}

/** What does not agree, in words; who asks for a shape names the node. */
export class ShapeMismatch extends Error {}
/** What ONNX cannot say, in words; who asks names the node. */
export class Unwritable extends Error {}

export function expectImage(shape: Sizes): readonly [Size, Size, Size, Size] {
  if (shape.length !== 4) throw new ShapeMismatch(`expected [N, C, H, W] but its input is ${formatShape(shape)}`);
  return shape as unknown as readonly [Size, Size, Size, Size];
}

/** An image of known channels. */
export function expectChannels(shape: Sizes): readonly [Size, number, Size, Size] {
  const [n, channels, ...pixels] = expectImage(shape);
  if (typeof channels !== 'number')
    throw new ShapeMismatch(`its input ${formatShape(shape)} has an open number of channels`);
  return [n, channels, ...pixels];
}

/** A field's sizes for arithmetic. */
export function sizesIn(list: readonly NodeSize[]): Sizes {
  return list.map((size) => (typeof size === 'number' ? size : (parseSize(size) ?? 0)));
}

/** A field's sizes, once those of the inputs are known (see `withSizes`). */
export function settled(list: readonly NodeSize[]): number[] {
  const open = list.find((size) => typeof size === 'string');
  if (open !== undefined) throw new ShapeMismatch(`its size ${open} is not known yet`);
  return list as number[];
}

export function expectAxis(axis: number, shape: Sizes): void {
  if (axis >= Math.max(shape.length, 1)) throw new ShapeMismatch(`its input ${formatShape(shape)} has no axis ${axis}`);
}

/** A list for each axis. */
export function expectRank(list: readonly unknown[], shape: Sizes): void {
  if (list.length !== shape.length)
    throw new ShapeMismatch(
      `expected something for each axis of its input ${formatShape(shape)} but it has ${list.length}`,
    );
}

/** A tensor of the state dict of this very shape, none of whose axes is empty. */
export function expectTensor(key: string, expected: Sizes, shapeOf: ShapeOf): void {
  const shape = shapeOf(key);
  const isEqual = allAgree(shape, expected);
  if (isEqual && !shape.includes(0)) return;
  const received = isEqual ? 'has no elements' : `is ${formatShape(shape)}`;
  throw new ShapeMismatch(`expected ${formatShape(expected)} for its tensor ${key} but it ${received}`);
}

/** Of a convolution: its weight and, where it has one, its bias. */
export function weightKeys({ weight, bias }: { readonly weight: string; readonly bias: string | null }): string[] {
  return bias === null ? [weight] : [weight, bias];
}

interface Geometry {
  readonly stride: Two;
  readonly padding: Sides;
  readonly dilation: Two;
  readonly groups: number;
}

/** ONNX's attributes of a convolution with a weight of this shape. */
export function convolutionAttributes(weight: Shape, { stride, padding, dilation, groups }: Geometry) {
  return {
    dilations: dilation,
    group: groups,
    kernel_shape: weight.slice(2),
    pads: toPadding4(padding),
    strides: stride,
  };
}

/** ONNX's padding of images with zeros, `[top, left, bottom, right]`; negative sides crop. */
export function onnxFrame(input: string, [top, left, bottom, right]: ImageShape): OnnxNode {
  return {
    opType: 'Pad',
    inputs: [input, { name: 'pads', tensor: integerTensor([0, 0, top, left, 0, 0, bottom, right]) }],
  };
}

/** ONNX's numbers of the types between which nodes are cast. */
export const TYPES = { float32: 1, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const;

/** Integers as an input of an ONNX node. */
export function integerTensor(values: readonly number[]): Tensor {
  return new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
}
