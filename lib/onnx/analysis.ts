import { type Known, knownOf } from './affine';
import { ChannelInference } from './channel-inference';
import { FixedConstants } from './fixed-constants';
import type { OnnxModel } from './model';
import { nodesOfPatterns } from './patterns';
import type { ShapeProbe } from './shape-probe';
import { inferredShapes } from './value-shapes';
import { Wiring } from './wiring';

/** What folding needs to know of a model: who reads what, constants and shapes, and what of it is affine. */
export interface Analysis {
  readonly fixed: FixedConstants;
  readonly wiring: Wiring;
  readonly probe: ShapeProbe;
  readonly channels: ChannelInference;
  readonly known: Known;
}

/** @param fixed of the model; without it they are evaluated when they are asked for */
export function analyse(
  model: OnnxModel,
  fixed = new FixedConstants(model.proto.graph),
  wiring = new Wiring(model.proto.graph),
): Analysis {
  const { graph } = model.proto;
  const probe = inferredShapes(graph, wiring, fixed);
  const channels = new ChannelInference(graph, probe);
  const ofPatterns = nodesOfPatterns(graph, wiring, probe);
  return { fixed, wiring, probe, channels, known: knownOf(model, probe, channels, ofPatterns, fixed.budget) };
}
