import { type Known, knownOf } from './affine';
import type { OnnxModel } from './model';
import { Images } from './shapes';
import { inferredWorlds } from './value-shapes';
import { Wiring } from './wiring';
import type { Worlds } from './worlds';

/** What folding needs to know of a model: who reads what, constants and shapes, and what of it is affine. */
export interface Analysis {
  readonly wiring: Wiring;
  readonly worlds: Worlds;
  readonly images: Images;
  readonly known: Known;
}

export function analyse(model: OnnxModel, wiring = new Wiring(model.proto.graph)): Analysis {
  const { graph } = model.proto;
  const worlds = inferredWorlds(graph, wiring);
  const images = new Images(graph, worlds);
  return { wiring, worlds, images, known: knownOf(model, worlds, images) };
}
