import type { OnnxModel } from '../../onnx';
import { FixedConstants } from '../../onnx/fixed-constants';
import { ELEMENTWISE_OPERATORS } from './elementwise';
import { IMAGE_OPERATORS } from './images';
import { INDEXING_OPERATORS } from './indexing';
import { PRODUCT_OPERATORS } from './products';
import { Reader, type ReadModel } from './reader';
import { RECURRENT_OPERATORS } from './recurrent';
import { TENSOR_OPERATORS } from './tensors';

const OPERATORS = new Map(
  Object.entries({
    ...ELEMENTWISE_OPERATORS,
    ...IMAGE_OPERATORS,
    ...TENSOR_OPERATORS,
    ...INDEXING_OPERATORS,
    ...PRODUCT_OPERATORS,
    ...RECURRENT_OPERATORS,
  }),
);

/**
 * An ONNX model as a graph with its weights: of inputs of any rank and type, and the operators of convolutional networks and their heads. What
 * is computed from constants and from shapes is computed here.
 *
 * @param fixed its constants; without them they are computed when they are asked for
 * @throws ERR_REPFUSE_GRAPH naming the first node that a graph cannot hold, and why
 */
export function fromOnnx(model: OnnxModel, fixed = new FixedConstants(model.proto.graph)): ReadModel {
  return new Reader(model, OPERATORS, fixed).read();
}
