import { type Known, knownOf } from './affine';
import { FixedConstants } from './fixed-constants';
import type { OnnxModel } from './model';
import { Images } from './shapes';
import { inferredWorlds } from './value-shapes';
import { Wiring } from './wiring';
import type { Worlds } from './worlds';

/** What folding needs to know of a model: who reads what, constants and shapes, and what of it is affine. */
export interface Analysis {
  readonly fixed: FixedConstants;
  readonly wiring: Wiring;
  readonly worlds: Worlds;
  readonly images: Images;
  readonly known: Known;
}

/** @param fixed of the model; without it they are evaluated when they are asked for */
export function analyse(
  model: OnnxModel,
  fixed = new FixedConstants(model.proto.graph),
  wiring = new Wiring(model.proto.graph),
): Analysis {
  const { graph } = model.proto;
  const worlds = inferredWorlds(graph, wiring, fixed);
  const images = new Images(graph, worlds);
  return { fixed, wiring, worlds, images, known: knownOf(model, worlds, images, fixed.budget) };
}
