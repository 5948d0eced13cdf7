import { FixedConstants } from '../fixed-constants';
import type { OnnxModel } from '../model';
import { foldConvolutions } from './conv-fold';
import { withoutDeadCode } from './dead-code';
import { foldLinear } from './linear-fold';
import type { FoldOptions, FoldReport } from './report';

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
  const linear = await foldLinear(model, fixed, options);
  const left = linear.model === model ? fixed : new FixedConstants(linear.model.proto.graph, fixed);
  await left.prepare(options.signal);
  const convolutions = await foldConvolutions(linear.model, left, options);
  const folded = [...linear.folded, ...convolutions.folded];
  const result = folded.length > 0 ? withoutDeadCode(convolutions.model) : model;
  const counts = ({ proto }: OnnxModel, op?: string) =>
    proto.graph.node.filter(({ opType }) => op === undefined || opType === op).length;
  const change = (op?: string) => ({ before: counts(model, op), after: counts(result, op) });
  const report: FoldReport = {
    folded,
    kept: [...linear.kept, ...convolutions.kept],
    dead: counts(convolutions.model) - counts(result),
    nodes: change(),
    convolutions: change('Conv'),
  };
  return { model: result, report };
}
