import type { Padding4 } from '../../ops/geometry';
import { PAD_MODES, type PadMode } from '../../ops/tensor-op';
import { greater, leastOf, minus, sum } from '../../sizes/size';
import { formatShape, Tensor } from '../../tensor/tensor';
import { anySizes, MAX_INTEGER, NAME, NUMBER, oneOf, optional } from './fields';
import {
  expectImage,
  expectRank,
  expectTensor,
  integerTensor,
  type NodeOf,
  type NodeSize,
  type Operator,
  type Shape,
  ShapeMismatch,
  settled,
  sizesIn,
  Unwritable,
} from './operator';

/** For each axis; negative sides crop. */
export interface PadNode extends NodeOf<'pad'> {
  readonly before: readonly NodeSize[];
  readonly after: readonly NodeSize[];
  readonly mode: PadMode;
  readonly value: number;
  /** In place of `value`: one for each channel, around images. */
  readonly fill?: string;
}

export const pad: Operator<PadNode> = {
  inputs: 1,
  fields: {
    before: anySizes(-MAX_INTEGER),
    after: anySizes(-MAX_INTEGER),
    mode: oneOf(PAD_MODES),
    value: NUMBER,
    fill: optional(NAME),
  },
  sizes: ['before', 'after'],
  keys: ({ fill }) => (fill === undefined ? [] : [fill]),
  shape(node, [input], shapeOf) {
    if (node.fill !== undefined) {
      expectTensor(node.fill, [expectImage(input)[1]], shapeOf);
      if (frameOf(node) === undefined) throw new ShapeMismatch('values for each channel stand around images only');
    }
    for (const list of [node.before, node.after]) expectRank(list, input);
    const [first, last] = [sizesIn(node.before), sizesIn(node.after)];
    return input.map((size, axis) => {
      const [before, after] = [first[axis]!, last[axis]!];
      const furthest = greater(before, after);
      if (node.mode === 'reflect' && leastOf(minus(furthest, size)) > -1)
        throw new ShapeMismatch(`reflection by ${furthest} goes beyond its input ${formatShape(input)}`);
      return sum(size, before, after);
    });
  },
  keepsChannels: ({ before, after }) => before[1] === 0 && after[1] === 0,
  affine(node, channels, weight) {
    const padding = frameOf(node);
    if (channels === undefined || padding === undefined || (node.fill === undefined && node.value !== 0))
      return undefined;
    const fill = node.fill === undefined ? undefined : (weight(node.fill).data as Float32Array);
    if (fill?.some((value) => !Number.isFinite(value))) return undefined;
    return { kind: 'frame', input: node.inputs[0]!, padding, fill };
  },
  magnitude: (node) => (node.mode === 'constant' ? { ...node, value: Math.abs(node.value) } : undefined),
  native: ({ before, after, mode, value }) => ({
    kind: 'pad',
    ints: settled([...before, ...after]),
    padMode: mode,
    padValue: value,
  }),
  steps(node, engine) {
    const padding = frameOf(node);
    const { channels } = engine;
    if (node.fill !== undefined)
      return engine.images({ kind: 'frame', padding: padding!, bias: engine.weight(node.fill) });
    if (!engine.isImages() || padding === undefined || channels === undefined)
      return engine.tensor(pad.native!(node, engine.weight));
    const bias = Tensor.f32([channels], new Float32Array(channels).fill(node.value));
    return engine.images({ kind: 'frame', padding, bias });
  },
  run(node, [x], { ops, options, weight }) {
    if (node.fill !== undefined) return ops.frame(x, weight(node.fill), frameOf(node)!, options);
    return ops.tensorOp(
      pad.native!(node, weight),
      [x],
      pad.shape(node, [x.shape], (key) => weight(key).shape) as Shape,
      options,
    );
  },
  onnx({ inputs, before, after, mode, value, fill }, { opset }) {
    if (fill !== undefined) throw new Unwritable('a frame of one value for each channel');
    if (mode === 'wrap' && opset < 19) throw new Unwritable('padding by wrapping before opset 19');
    const values = mode === 'constant' ? [Tensor.f32([], [value])] : [];
    return {
      opType: 'Pad',
      inputs: [...inputs, integerTensor(settled([...before, ...after])), ...values],
      attributes: { mode },
    };
  },
};

/** The sides of a padding of constants that is one of rows and columns of images. */
function frameOf({ before, after, mode }: PadNode): Padding4 | undefined {
  const ofPixels = before.length === 4 && [before, after].every(([n, c]) => n === 0 && c === 0);
  const sides = [before[2], before[3], after[2], after[3]];
  const areKnown = sides.every((side) => typeof side === 'number');
  return mode === 'constant' && ofPixels && areKnown ? (sides as unknown as Padding4) : undefined;
}
