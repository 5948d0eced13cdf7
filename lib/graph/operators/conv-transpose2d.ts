import { type Padding4, toPadding4 } from '../../ops/geometry';
import { agree } from '../../sizes/conditions';
import { minus, product, type Size, type Sizes, sum, times } from '../../sizes/size';
import { elementCount, formatShape, Tensor } from '../../tensor/tensor';
import { integer, integers, NAME, nullable, SIDES } from './fields';
import {
  convolutionAttributes,
  expectImage,
  expectTensor,
  type ImageShape,
  type NodeOf,
  nodeError,
  type Operator,
  type Shape,
  ShapeMismatch,
  type Sides,
  type Two,
  weightKeys,
} from './operator';

/** Weight [in, out / groups, kernel_h, kernel_w]. */
export interface ConvTranspose2dNode extends NodeOf<'conv_transpose2d'> {
  readonly weight: string;
  readonly bias: string | null;
  readonly stride: Two;
  readonly padding: Sides;
  /** Rows and columns that are added at the bottom and right. */
  readonly output_padding: Two;
  readonly dilation: Two;
  readonly groups: number;
}

/** Most elements of a result. */
const MAX_ELEMENTS = 2 ** 31 - 1;

export const convTranspose2d: Operator<ConvTranspose2dNode> = {
  inputs: 1,
  fields: {
    weight: NAME,
    bias: nullable(NAME),
    stride: integers<Two>(2, 1),
    padding: SIDES,
    output_padding: integers<Two>(2, 0),
    dilation: integers<Two>(2, 1),
    groups: integer(1),
  },
  keys: weightKeys,
  shape(node, [input], shapeOf) {
    const [n, c, ...pixels] = expectImage(input);
    const weight = shapeOf(node.weight);
    const [channels, outPerGroup, ...kernel] = weight as [number, number, number, number];
    if (weight.length !== 4 || weight.includes(0) || !agree(channels, c) || channels % node.groups !== 0)
      throw new ShapeMismatch(
        `its tensor ${node.weight} of shape ${formatShape(weight)} does not fit ${c} input channels in ${node.groups} groups`,
      );
    const out = outPerGroup * node.groups;
    if (node.bias !== null) expectTensor(node.bias, [out], shapeOf);
    const size = AXES.map((axis) => resultSize(node, axis, pixels[axis], kernel[axis]!));
    if (size.some((each) => typeof each === 'number' && each < 1))
      throw new ShapeMismatch(`its padding leaves nothing of ${formatShape(pixels)} pixels`);
    spreadShape(node, weight);
    const whole = product(uncroppedShape(node, input, weight));
    if (typeof whole === 'number' && whole > MAX_ELEMENTS)
      throw new ShapeMismatch(`before its padding is cut off its result would hold more than ${MAX_ELEMENTS} values`);
    return [n, out, ...size];
  },
  channels: ({ weight, groups }, _, shapeOf) => (shapeOf(weight)?.[1] ?? 0) * groups || undefined,
  inputChannels: ({ weight }, shapeOf) => shapeOf(weight)?.[0],
  magnitude: (node) => node,
  steps(node, engine) {
    const { weight, bias, groups, padding, spread, crop } = spreadConvolution(node, engine.weight);
    const wide = engine.images({ kind: 'conv', weight, bias, groups, padding });
    const whole = engine.images(spread, [wide]);
    if (crop.every((side) => side === 0)) return whole;
    return engine.images({ kind: 'frame', padding: crop.map((side) => 0 - side) as unknown as Padding4 }, [whole]);
  },
  run(node, [x], { ops, options, weight }) {
    const { spread, crop, ...conv } = spreadConvolution(node, weight);
    const stage = { ...conv, kind: 'conv2d', stride: [1, 1], dilation: [1, 1] } as const;
    return ops.chain(
      ops.runBranch({ name: node.id, stages: [stage] }, x, options),
      (wide) => {
        const [n, c, h, w] = wide.shape as ImageShape;
        const [down, across] = node.stride;
        return ops.tensorOp(spread, [wide], [n, c / (down * across), h * down, w * across], options);
      },
      (whole) => (crop.every((side) => side === 0) ? ops.constant(whole) : ops.crop(whole, crop, options)),
    );
  },
  // Every input pixel meets every weight of its channel once.
  macs: ({ weight }, input, _, shapeOf) => elementCount(input) * elementCount(shapeOf(weight).slice(1)),
  // What will be cropped, before and after it is spread.
  workspace: (node, input, shapeOf) => 2 * (product(uncroppedShape(node, input, shapeOf(node.weight))) as number),
  onnx: (node, { shapeOf }) => ({
    opType: 'ConvTranspose',
    inputs: [...node.inputs, ...weightKeys(node).map((key) => ({ key }))],
    attributes: { ...convolutionAttributes(shapeOf(node.weight), node), output_padding: node.output_padding },
  }),
};

const AXES = [0, 1] as const;

/** Output size along one axis (0: rows). */
function resultSize(node: ConvTranspose2dNode, axis: 0 | 1, size: Size, kernel: number): Size {
  const sides = toPadding4(node.padding);
  const reach = node.dilation[axis] * (kernel - 1) + 1;
  return sum(
    times(node.stride[axis], minus(size, 1)),
    reach - sides[axis]! - sides[axis + 2]! + node.output_padding[axis],
  );
}

/** About the shape of the result before its padding is cut off: at least that. */
function uncroppedShape(node: ConvTranspose2dNode, [n, , ...pixels]: Sizes, weight: Shape): Sizes {
  const sides = toPadding4(node.padding);
  const size = AXES.map((axis) => {
    const whole = resultSize(node, axis, pixels[axis]!, weight[axis + 2]!);
    return sum(whole, sides[axis]! + sides[axis + 2]! + node.stride[axis]);
  });
  return [n!, weight[1]! * node.groups, ...size];
}

/** Most values of the plain convolution's weight, or so many times those of its own: a file can ask for any stride and dilation. */
const MAX_VALUES = 2 ** 22;
const MAX_TIMES = 256;

/** Of the plain convolution's weight. @throws ERR_REPFUSE_GRAPH naming a node whose stride or dilation would make too much of it */
function spreadShape(node: ConvTranspose2dNode, weight: Shape): ImageShape {
  const [channels, outPerGroup, kh, kw] = weight as ImageShape;
  const { groups, stride } = node;
  const taps = [alongAxis(node, 0, kh).taps, alongAxis(node, 1, kw).taps] as const;
  const shape = [outPerGroup * groups * stride[0] * stride[1], channels / groups, ...taps] as const;
  const count = elementCount(shape);
  const most = Math.max(MAX_VALUES, MAX_TIMES * elementCount(weight));
  if (count <= most) return shape;
  throw nodeError(
    node,
    `spread over blocks of ${stride.join('x')} its weight would hold ${count} values, more than ${most}`,
  );
}

/**
 * A transposed convolution as a plain one whose channels are then spread over blocks of pixels, and cropped: each result of one block reads
 * its own taps (Shi et al., Is the deconvolution layer the same as a convolutional layer?, section 2).
 *
 * @returns the plain convolution, the native operator that spreads, and `[top, left, bottom, right]` to crop, none negative
 */
export function spreadConvolution(node: ConvTranspose2dNode, tensor: (key: string) => Tensor) {
  const [weight, bias] = [tensor(node.weight), node.bias === null ? null : tensor(node.bias)];
  const [channels, outPerGroup, kh, kw] = weight.shape as ImageShape;
  const { groups, stride } = node;
  const [down, across] = [alongAxis(node, 0, kh), alongAxis(node, 1, kw)] as const;
  const blocks = stride[0] * stride[1];
  const byPixel = groups === 1; // whole blocks of channels then go to one pixel
  const shape = spreadShape(node, weight.shape);
  const [out, inPerGroup] = shape;
  const values = new Float32Array(elementCount(shape));
  const source = weight.data as Float32Array;
  for (let c = 0; c < channels; c++) {
    const group = Math.floor(c / inPerGroup);
    for (let o = 0; o < outPerGroup; o++) {
      for (let y = 0; y < kh; y++) {
        for (let x = 0; x < kw; x++) {
          const [row, column] = [down.place(y), across.place(x)];
          const phase = row.phase * stride[1] + column.phase;
          const channel = byPixel ? phase * outPerGroup + o : (group * outPerGroup + o) * blocks + phase;
          const tap = (channel * inPerGroup + (c % inPerGroup)) * down.taps * across.taps;
          values[tap + row.tap * across.taps + column.tap] = source[((c * outPerGroup + o) * kh + y) * kw + x]!;
        }
      }
    }
  }
  const biases =
    bias &&
    Float32Array.from({ length: out }, (_, i) => Number(bias.data[byPixel ? i % outPerGroup : Math.floor(i / blocks)]));
  const padding: Padding4 = [down.taps - 1, across.taps - 1, down.after, across.after];
  const crop: Padding4 = [down.cropBefore, across.cropBefore, down.cropAfter, across.cropAfter];
  return {
    weight: Tensor.f32(shape, values),
    bias: biases && Tensor.f32([out], biases),
    groups,
    padding,
    spread: { kind: 'depthToSpace', ints: [...stride, byPixel ? 0 : 1] },
    crop,
  };
}

/** Row u of the uncropped result is stride q + phase; it reads x[q - m] by tap m stride + phase. */
function alongAxis(node: ConvTranspose2dNode, axis: 0 | 1, kernel: number) {
  const sides = toPadding4(node.padding);
  const [stride, dilation] = [node.stride[axis], node.dilation[axis]];
  const reach = dilation * (kernel - 1) + 1;
  const taps = Math.ceil(reach / stride);
  // What is cut off at the end; where output_padding asks for more than there is, the plain convolution goes on into its padding.
  const rest = stride * taps - reach + sides[axis + 2]! - node.output_padding[axis];
  const more = rest < 0 ? Math.ceil(-rest / stride) : 0;
  return {
    taps,
    after: taps - 1 + more,
    cropBefore: sides[axis]!,
    cropAfter: rest + more * stride,
    place(tap: number) {
      const at = tap * dilation;
      return { phase: at % stride, tap: taps - 1 - Math.floor(at / stride) };
    },
  };
}
