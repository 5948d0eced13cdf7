import { FixedConstants } from '../fixed-constants';
import type { OnnxModel } from '../model';
import { onnxTypeOf } from '../values';
import { computeWeights } from './computed-weights';
import { foldConvolutions } from './conv-fold';
import { withoutDeadCode } from './dead-code';
import { foldLinear } from './linear-fold';
import { normsLeft } from './norms-left';
import { placeNorms } from './place-norms';
import type { Folded, FoldOptions, FoldReport } from './report';

/**
 * A model in which every chain and sum of affine operators on one value (convolutions, BatchNormalizations, average pooling, arithmetic with a
 * constant for each channel, zero padding, the value itself) is one Conv: float64 inside, rounded once. Values keep their names; nothing that
 * another node or the outside reads is folded away. Where nothing can be folded the model is the given one.
 *
 * @throws ERR_REPFUSE_NOT_FINITE naming the node whose fused values are not finite; the signal's reason
 */
export async function foldGraph(
  model: OnnxModel,
  options: FoldOptions = {},
): Promise<{ model: OnnxModel; report: FoldReport }> {
  const fixed = new FixedConstants(model.proto.graph);
  await fixed.prepare(options.signal);
  const placed = await placeNorms(model, fixed, options.signal);
  const first = await foldPlaced(placed, fixed, options);
  // What was placed to become part of a product did, but for a budget.
  const {
    folded,
    kept,
    dead,
    model: merged,
  } = isOfTypesOf(model, first.model) ? first : await foldPlaced(model, new FixedConstants(model.proto.graph), options);
  const result = folded.length > 0 ? merged : model;
  const counts = ({ proto }: OnnxModel, op?: string) =>
    proto.graph.node.filter(({ opType }) => op === undefined || opType === op).length;
  const change = (op?: string) => ({ before: counts(model, op), after: counts(result, op) });
  const report: FoldReport = {
    folded,
    kept: [...kept, ...normsLeft(result, kept)],
    dead: folded.length > 0 ? dead : 0,
    nodes: change(),
    convolutions: change('Conv'),
  };
  return { model: result, report };
}

async function foldPlaced(
  model: OnnxModel,
  fixed: FixedConstants,
  options: FoldOptions,
): Promise<Folded & { readonly dead: number }> {
  const constants = new FixedConstants(model.proto.graph, fixed);
  await constants.prepare(options.signal);
  const linear = await foldLinear(model, constants, options);
  const left = linear.model === model ? constants : new FixedConstants(linear.model.proto.graph, constants);
  await left.prepare(options.signal);
  const convolutions = await foldConvolutions(linear.model, left, options);
  const computed = computeWeights(convolutions.model, left);
  const result = withoutDeadCode(computed.model);
  const count = ({ proto }: OnnxModel) => proto.graph.node.length;
  return {
    model: result,
    folded: [...linear.folded, ...convolutions.folded, ...computed.folded],
    kept: [...linear.kept, ...convolutions.kept],
    dead: count(convolutions.model) - count(result),
  };
}

/** Whether a model has no float64 initializers that another does not have. */
function isOfTypesOf(given: OnnxModel, { proto }: OnnxModel): boolean {
  const known = new Set(given.proto.graph.initializer.map(({ name }) => name));
  return proto.graph.initializer.every(({ name, dataType }) => dataType !== DOUBLE || known.has(name));
}

const DOUBLE = onnxTypeOf('F64');
