import { RepfuseError } from '../errors';
import type { EpsOf } from '../families/branches';
import type { PlannedBranch } from '../families/stages';
import { nearestOf } from '../options';

/** BatchNorm eps: one value, or one by the BatchNorm's key prefix (`rbr_dense.bn`). */
export type Eps = number | Readonly<Record<string, number>>;

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for a value below 0, a BatchNorm without a value, a name that is none. */
export function resolveEps(eps: Eps, branches: readonly PlannedBranch[]): EpsOf {
  if (typeof eps === 'number') {
    checkEps(eps, 'eps');
    return () => eps;
  }
  const batchNorms = branches.flatMap(({ stages }) =>
    stages.flatMap((stage) => ('batchNorm' in stage ? [stage.batchNorm] : [])),
  );
  for (const name of batchNorms) checkEps(eps[name], `eps of ${name}`);
  for (const name of Object.keys(eps)) {
    if (batchNorms.includes(name)) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a BatchNorm of the block for eps but received ${name}: did you mean ${nearestOf(name, batchNorms)}?`,
    );
  }
  return (name) => eps[name]!;
}

function checkEps(value: number | undefined, name: string): void {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a finite number of at least 0 for ${name} but received ${value}`,
  );
}
