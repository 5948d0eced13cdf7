import { RepfuseError } from '../errors';
import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from '../onnx/attributes';
import type { Attribute } from '../onnx/schema/onnx_pb';
import { Tensor } from '../tensor/tensor';
import type { FlattenNode, ResizeNode, SoftmaxNode, TensorNode } from './graph';

/** An operator as ONNX writes it; null: an input that is left out. */
export interface OnnxOperator {
  readonly opType: string;
  /** Ids of values, keys of the state dict, or tensors of the node's own. */
  readonly inputs: readonly (string | { readonly key: string } | Tensor | null)[];
  readonly attributes?: readonly Attribute[];
}

const BINARY = { add: 'Add', sub: 'Sub', mul: 'Mul', div: 'Div', prelu: 'PRelu' } as const;
/** From here on axes of a mean are an input, and Resize has antialias and keep_aspect_ratio_policy. */
const NEWER_RESIZE = 18;

/** @throws ERR_REPFUSE_GRAPH for what ONNX cannot say */
export function tensorToOnnx(node: TensorNode | FlattenNode | SoftmaxNode, opset: number): OnnxOperator {
  const [x, other] = node.inputs as [string, string | undefined];
  // To ONNX no axes are all of them.
  if ('axes' in node && node.axes.length === 0) return { opType: 'Identity', inputs: [x] };
  switch (node.op) {
    case 'tanh':
      return { opType: 'Tanh', inputs: [x] };
    case 'leaky_relu':
      return { opType: 'LeakyRelu', inputs: [x], attributes: [floatAttribute('alpha', node.slope)] };
    case 'clip': {
      const bounds = [node.min, node.max].map((bound) => (bound === null ? null : Tensor.f32([], [bound])));
      return { opType: 'Clip', inputs: [x, ...bounds] };
    }
    case 'hard_sigmoid': {
      const attributes = [floatAttribute('alpha', node.alpha), floatAttribute('beta', node.beta)];
      return { opType: 'HardSigmoid', inputs: [x], attributes };
    }
    case 'binary': {
      const second = node.constant === undefined ? other! : { key: node.constant };
      const inputs = node.constant_first === true ? [second, x] : [x, second];
      return { opType: BINARY[node.function], inputs };
    }
    case 'concat':
      return { opType: 'Concat', inputs: node.inputs, attributes: [intAttribute('axis', node.axis)] };
    case 'flatten':
      return { opType: 'Flatten', inputs: [x], attributes: [intAttribute('axis', node.axis ?? 1)] };
    case 'softmax':
      if (node.joint === true) throw unwritable(node, 'a softmax over several axes');
      return { opType: 'Softmax', inputs: [x], attributes: [intAttribute('axis', node.axis ?? 1)] };
    case 'transpose':
      return { opType: 'Transpose', inputs: [x], attributes: [intsAttribute('perm', node.perm)] };
    case 'slice': {
      const axes = node.starts.map((_, axis) => axis);
      return { opType: 'Slice', inputs: [x, ...[node.starts, node.ends, axes, node.steps].map(integers)] };
    }
    case 'pad': {
      if (node.fill !== undefined) throw unwritable(node, 'a frame of one value for each channel');
      const value = node.mode === 'constant' ? [Tensor.f32([], [node.value])] : [];
      const inputs = [x, integers([...node.before, ...node.after]), ...value];
      if (node.mode === 'wrap' && opset < 19) throw unwritable(node, 'padding by wrapping before opset 19');
      return { opType: 'Pad', inputs, attributes: [stringAttribute('mode', node.mode)] };
    }
    case 'reshape':
      return { opType: 'Reshape', inputs: [x, integers(node.shape)] };
    case 'squeeze':
      return { opType: 'Squeeze', inputs: [x, integers(node.axes)] };
    case 'unsqueeze':
      return { opType: 'Unsqueeze', inputs: [x, integers(node.axes)] };
    case 'reduce_mean': {
      const keep = intAttribute('keepdims', node.keepdims ? 1 : 0);
      if (opset >= NEWER_RESIZE) return { opType: 'ReduceMean', inputs: [x, integers(node.axes)], attributes: [keep] };
      return { opType: 'ReduceMean', inputs: [x], attributes: [intsAttribute('axes', node.axes), keep] };
    }
    case 'matmul':
      return { opType: 'MatMul', inputs: [x, other!] };
    case 'resize':
      return resizeToOnnx(node, opset);
    case 'depth_to_space': {
      const [down, across] = node.block;
      if (down !== across) throw unwritable(node, `blocks of ${down}x${across}`);
      const mode = stringAttribute('mode', node.channels_first ? 'CRD' : 'DCR');
      return { opType: 'DepthToSpace', inputs: [x], attributes: [intAttribute('blocksize', down), mode] };
    }
  }
}

function resizeToOnnx(node: ResizeNode, opset: number): OnnxOperator {
  const { scales, sizes, crop, aspect, antialias } = node;
  if (node.inputs.length > 1) throw unwritable(node, 'a size that is that of another value by one operator');
  const bySizes = sizes.every((size) => size > 0);
  if (!bySizes && (sizes.some((size) => size > 0) || !scales.every((scale) => scale > 0)))
    throw unwritable(node, 'a size of one axis and a scale of another');
  if (opset < NEWER_RESIZE && (antialias || aspect !== 'stretch' || node.coordinates === 'half_pixel_symmetric'))
    throw unwritable(node, `such a Resize before opset ${NEWER_RESIZE}`);
  // Before opset 18 all axes have a scale or a size: that of the batch is not known.
  if (bySizes && opset < NEWER_RESIZE) throw unwritable(node, `a Resize to sizes before opset ${NEWER_RESIZE}`);
  const newer = opset >= NEWER_RESIZE;
  const roi =
    node.coordinates === 'tf_crop_and_resize' ? Tensor.f32([newer ? 4 : 8], newer ? crop : wholeCrop(crop)) : null;
  const factors = bySizes ? null : Tensor.f32([newer ? 2 : 4], newer ? scales : [1, 1, ...scales]);
  return {
    opType: 'Resize',
    inputs: [node.inputs[0]!, roi, factors, bySizes ? integers(sizes) : null],
    attributes: [
      stringAttribute('mode', node.mode),
      stringAttribute('coordinate_transformation_mode', node.coordinates),
      stringAttribute('nearest_mode', node.nearest),
      floatAttribute('cubic_coeff_a', node.cubic_a),
      intAttribute('exclude_outside', node.exclude_outside ? 1 : 0),
      floatAttribute('extrapolation_value', node.extrapolation),
      ...(newer
        ? [
            intsAttribute('axes', [2, 3]),
            intAttribute('antialias', antialias ? 1 : 0),
            stringAttribute('keep_aspect_ratio_policy', aspect),
          ]
        : []),
    ],
  };
}

function wholeCrop([top, left, bottom, right]: readonly [number, number, number, number]): readonly number[] {
  return [0, 0, top, left, 1, 1, bottom, right];
}

function integers(values: readonly number[]): Tensor {
  return new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
}

function unwritable(node: { readonly id: string; readonly op: string }, what: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Node ${node.id} (${node.op}): ONNX cannot say ${what}`, {
    node: node.id,
  });
}
