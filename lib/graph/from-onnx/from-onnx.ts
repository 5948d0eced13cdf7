import type { OnnxModel } from '../../onnx';
import { FixedConstants } from '../../onnx/fixed-constants';
import type { Node } from '../../onnx/schema/onnx_pb';
import { BRANCH_OPERATORS, branchesTaken, KnownBranches, type Taken, withBranches } from './branches';
import { DETECTION_OPERATORS } from './detections';
import { ELEMENTWISE_OPERATORS } from './elementwise';
import { IMAGE_OPERATORS } from './images';
import { INDEXING_OPERATORS } from './indexing';
import { SIZE_OPERATORS } from './made-of-sizes';
import { NORMALIZATION_OPERATORS } from './normalizations';
import { PRODUCT_OPERATORS } from './products';
import { Reader, type ReadModel, unusable } from './reader';
import { RECURRENT_OPERATORS } from './recurrent';
import { REDUCTION_OPERATORS } from './reductions';
import { SELECTION_OPERATORS } from './selection';
import { TENSOR_OPERATORS } from './tensors';

const OPERATORS = new Map(
  Object.entries({
    ...ELEMENTWISE_OPERATORS,
    ...IMAGE_OPERATORS,
    ...TENSOR_OPERATORS,
    ...INDEXING_OPERATORS,
    ...PRODUCT_OPERATORS,
    ...REDUCTION_OPERATORS,
    ...NORMALIZATION_OPERATORS,
    ...RECURRENT_OPERATORS,
    ...DETECTION_OPERATORS,
    ...SELECTION_OPERATORS,
    ...BRANCH_OPERATORS,
    ...SIZE_OPERATORS,
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
  let [current, known] = [model, fixed];
  let taken: ReadonlyMap<Node, Taken> = branchesTaken(model.proto.graph, (value) => fixed.get(value));
  for (let rounds = 0; rounds < MOST_ROUNDS; rounds++) {
    if (taken.size > 0) {
      current = withBranches(current, taken);
      known = new FixedConstants(current.proto.graph, known);
    }
    try {
      return new Reader(current, OPERATORS, known).read();
    } catch (error) {
      if (!(error instanceof KnownBranches)) throw error;
      taken = error.taken;
    }
  }
  throw unusable(`Expected an ONNX model of at most ${MOST_ROUNDS} conditions behind each other but it has more`);
}

/** So often a model is read anew, with branches that were known in place of an If. */
const MOST_ROUNDS = 256;
