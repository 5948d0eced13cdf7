import type { Checkpoint } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { type DetectedBlock, detectBlocks, type EpsChoice, type FamilyRule } from '../families';
import { batchNormEps, type Graph } from '../graph';

/** What steers the search for blocks. */
export interface FindOptions {
  /**
   * BatchNorm eps of every block. Default 'auto': the graph's where there is one, or that of a pickled module, else by family and
   * by path names that betray a descendant.
   */
  readonly eps?: number | 'auto' | undefined;
  /** Family rules. Default: all that repfuse knows. */
  readonly rules?: readonly FamilyRule[] | undefined;
}

/** The blocks of a checkpoint. */
export function findBlocks(
  { tensors, modules }: Pick<Checkpoint, 'tensors' | 'modules'>,
  graph: Graph | undefined,
  { eps, rules }: FindOptions,
): DetectedBlock[] {
  const ofGraph = graph && batchNormEps(graph);
  const ofModule = (batchNorm: string): EpsChoice | undefined => {
    const value = modules.get(batchNorm)?.eps;
    return value === undefined ? undefined : { value, source: 'attribute of the pickled module' };
  };
  return detectBlocks(tensors, {
    eps: eps === 'auto' ? undefined : eps,
    epsOf: (batchNorm) => ofGraph?.(batchNorm) ?? ofModule(batchNorm),
    ...(rules === undefined ? {} : { rules }),
  });
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT */
export function checkEps({ eps }: FindOptions): void {
  if (eps === undefined || eps === 'auto') return;
  if (typeof eps === 'number' && Number.isFinite(eps) && eps >= 0) return;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a finite number of at least 0, or 'auto', for eps but received ${String(eps)}`,
  );
}
