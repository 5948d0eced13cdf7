import type { OnnxModel } from '../../onnx';
import { ELEMENTWISE_OPERATORS } from './elementwise';
import { IMAGE_OPERATORS } from './images';
import { Reader, type ReadModel } from './reader';
import { TENSOR_OPERATORS } from './tensors';

const OPERATORS = { ...IMAGE_OPERATORS, ...ELEMENTWISE_OPERATORS, ...TENSOR_OPERATORS };

/**
 * An ONNX model as a graph with its weights: of one input, an image batch, and the operators of convolutional networks and their heads. What
 * is computed from constants and from shapes is computed here.
 *
 * @throws ERR_REPFUSE_GRAPH naming the first node that a graph cannot hold, and why
 */
export function fromOnnx(model: OnnxModel): ReadModel {
  return new Reader(model, OPERATORS).read();
}
