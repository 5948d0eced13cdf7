import { type Known, knownOf } from './affine';
import { ChannelInference } from './channel-inference';
import type { Constants } from './constants';
import { FixedConstants } from './fixed-constants';
import type { OnnxModel } from './model';
import { nodesOfPatterns } from './patterns';
import { inferredShapes } from './value-shapes';
import { Wiring } from './wiring';

/** What folding needs to know of a model: who reads what, constants and shapes, and what of it is affine. */
export interface Analysis {
  readonly fixed: FixedConstants;
  readonly wiring: Wiring;
  /** What is known before the model runs; their `shapes` are those of all values, as far as they are known. */
  readonly constants: Constants;
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
  const constants = inferredShapes(graph, wiring, fixed);
  const channels = new ChannelInference(graph, constants);
  const ofPatterns = nodesOfPatterns(graph, wiring, constants);
  return { fixed, wiring, constants, channels, known: knownOf(model, constants, channels, ofPatterns, fixed.budget) };
}
