import { RepfuseError } from '../errors';
import { toPadding4 } from '../ops/geometry';
import { elementCount, Tensor } from '../tensor/tensor';
import type { ConvTranspose2dNode, DepthToSpaceNode } from './graph';

type Geometry = Pick<ConvTranspose2dNode, 'stride' | 'padding' | 'output_padding' | 'dilation' | 'groups'>;

/**
 * A transposed convolution as a plain one whose channels are then spread over blocks of pixels, and cropped: each result of one block reads
 * its own taps (Shi et al., Is the deconvolution layer the same as a convolutional layer?, section 2).
 */
export interface SpreadConvolution {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly groups: number;
  /** `[top, left, bottom, right]`. */
  readonly padding: readonly [number, number, number, number];
  readonly spread: Pick<DepthToSpaceNode, 'block' | 'channels_first'>;
  /** `[top, left, bottom, right]`, none negative. */
  readonly crop: readonly [number, number, number, number];
}

/** Output size along one axis (0: rows). */
export function transposedSize(node: Geometry, axis: 0 | 1, size: number, kernel: number): number {
  const sides = toPadding4(node.padding);
  const reach = node.dilation[axis] * (kernel - 1) + 1;
  return node.stride[axis] * (size - 1) + reach - sides[axis]! - sides[axis + 2]! + node.output_padding[axis];
}

/** Most values of the plain convolution's weight, or so many times those of its own: a file can ask for any stride and dilation. */
const MAX_VALUES = 2 ** 22;
const MAX_TIMES = 256;

/** @throws ERR_REPFUSE_GRAPH naming a node whose stride or dilation would make too much of its weight */
export function spreadShape(
  node: ConvTranspose2dNode,
  weight: readonly number[],
): readonly [number, number, number, number] {
  const [channels, outPerGroup, kh, kw] = weight as readonly [number, number, number, number];
  const { groups, stride } = node;
  const taps = [alongAxis(node, 0, kh).taps, alongAxis(node, 1, kw).taps] as const;
  const shape = [outPerGroup * groups * stride[0] * stride[1], channels / groups, ...taps] as const;
  const count = elementCount(shape);
  const most = Math.max(MAX_VALUES, MAX_TIMES * elementCount(weight));
  if (count <= most) return shape;
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Node ${node.id} (${node.op}): spread over blocks of ${stride.join('x')} its weight would hold ${count} values, more than ${most}`,
    { node: node.id },
  );
}

/** @throws as `spreadShape` */
export function spreadConvolution(node: ConvTranspose2dNode, weight: Tensor, bias: Tensor | null): SpreadConvolution {
  const [channels, outPerGroup] = weight.shape as [number, number];
  const { groups, stride } = node;
  const [down, across] = [alongAxis(node, 0, weight.shape[2]!), alongAxis(node, 1, weight.shape[3]!)] as const;
  const blocks = stride[0] * stride[1];
  const shape = spreadShape(node, weight.shape);
  const [out, inPerGroup] = shape;
  const count = elementCount(shape);
  const spreadWeight = new Float32Array(count);
  const source = weight.data as Float32Array;
  const [kh, kw] = weight.shape.slice(2) as [number, number];
  for (let c = 0; c < channels; c++) {
    const group = Math.floor(c / inPerGroup);
    for (let o = 0; o < outPerGroup; o++) {
      for (let y = 0; y < kh; y++) {
        for (let x = 0; x < kw; x++) {
          const [row, column] = [down.place(y), across.place(x)];
          const channel = (group * outPerGroup + o) * blocks + row.phase * stride[1] + column.phase;
          const tap = (channel * inPerGroup + (c % inPerGroup)) * down.taps * across.taps;
          spreadWeight[tap + row.tap * across.taps + column.tap] = source[((c * outPerGroup + o) * kh + y) * kw + x]!;
        }
      }
    }
  }
  const biases =
    bias === null ? null : Float32Array.from({ length: out }, (_, i) => Number(bias.data[Math.floor(i / blocks)]));
  return {
    weight: Tensor.f32(shape, spreadWeight),
    bias: biases === null ? null : Tensor.f32([out], biases),
    groups,
    padding: [down.taps - 1, across.taps - 1, down.after, across.after],
    spread: { block: stride, channels_first: true },
    crop: [down.cropBefore, across.cropBefore, down.cropAfter, across.cropAfter],
  };
}

/** Row u of the uncropped result is stride q + phase; it reads x[q - m] by tap m stride + phase. */
function alongAxis(node: Geometry, axis: 0 | 1, kernel: number) {
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
