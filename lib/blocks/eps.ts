import { checkArgument } from '../arguments/check';
import { eitherOf, number, recordOf, type Schema } from '../arguments/schemas';
import { quote } from '../arguments/show';
import { suggestion } from '../arguments/suggest';
import { RepfuseError } from '../errors';
import type { EpsLookup } from '../families/branches';
import type { ResolvedBranch } from '../families/stages';

/** BatchNorm eps: one value, or one by the BatchNorm's key prefix (`rbr_dense.bn`). */
export type Eps = number | Readonly<Record<string, number>>;

const EPS_VALUE = number(0);
/** Which BatchNorms there are is not known yet. */
export const EPS: Schema<Eps> = eitherOf(
  'a finite number of at least 0, or one for each BatchNorm',
  EPS_VALUE,
  recordOf<number>(),
);

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for a value below 0, a BatchNorm without a value, a name that is none. */
export function resolveEps(eps: Eps, branches: readonly ResolvedBranch[]): EpsLookup {
  if (typeof eps === 'number') return () => eps;
  const batchNorms = branches.flatMap(({ stages }) =>
    stages.flatMap((stage) => ('batchNorm' in stage ? [stage.batchNorm] : [])),
  );
  for (const name of batchNorms)
    checkArgument(`eps of ${name}`, EPS_VALUE, Object.hasOwn(eps, name) ? eps[name] : undefined);
  for (const name of Object.keys(eps)) {
    if (batchNorms.includes(name)) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a BatchNorm of the block for eps but received ${quote(name)}${suggestion(name, batchNorms)}`,
      { option: 'eps' },
    );
  }
  return (name) => eps[name]!;
}
