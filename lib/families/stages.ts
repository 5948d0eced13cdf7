import type { BranchRole, BranchRule, FamilyRule, StageRule } from './rule';

/** The keys that a stage cannot do without. */
export function requiredKeys(stage: StageRule): string[] {
  if ('conv' in stage) return [`${stage.conv}.weight`];
  if ('batchNorm' in stage) return [`${stage.batchNorm}.running_mean`, `${stage.batchNorm}.running_var`];
  return [];
}

/** All keys that a stage may have. */
export function possibleKeys(stage: StageRule): string[] {
  if ('conv' in stage) return [...requiredKeys(stage), `${stage.conv}.bias`];
  if ('batchNorm' in stage) {
    const prefix = stage.batchNorm;
    return [`${prefix}.weight`, `${prefix}.bias`, ...requiredKeys(stage), `${prefix}.num_batches_tracked`];
  }
  return [];
}

/** A branch of a rule as a block has it, or should have it: its index filled in, one of its chains chosen. */
export interface PlannedBranch {
  readonly name: string;
  readonly role: BranchRole;
  readonly stages: readonly StageRule[];
}

/** How many copies of each role a block has; none where a role is not named. */
export type BranchCounts = Partial<Readonly<Record<BranchRole, number>>>;

/**
 * The branches of a block that is built anew, in the rule's order.
 *
 * @param chainOf which of a role's alternative chains it takes; default the first
 */
export function planBranches(
  rule: FamilyRule,
  counts: BranchCounts,
  chainOf: Partial<Readonly<Record<BranchRole, number>>> = {},
): PlannedBranch[] {
  return rule.branches.flatMap((branch) =>
    Array.from({ length: counts[branch.role] ?? 0 }, (_, index) =>
      plan(branch, branch.chains[chainOf[branch.role] ?? 0]!, index),
    ),
  );
}

/**
 * The branches that a block in a state dict should have, by the keys that are there: every required one, the optional ones of
 * which a tensor exists, the repeated ones by their indices.
 *
 * @param has whether a key exists, relative to the block
 * @param indices the numbers that stand in keys after a text, ascending
 */
export function expectedBranches(
  rule: FamilyRule,
  has: (key: string) => boolean,
  indices: (before: string) => readonly number[],
): PlannedBranch[] {
  return rule.branches.flatMap((branch) => {
    if (branch.presence === 'repeated')
      return expectedIndices(branch, indices).map((index) => choose(branch, index, has));
    const found = choose(branch, 0, has);
    const isRequired =
      branch.presence === 'required' || (branch.requiredBeside !== undefined && has(branch.requiredBeside));
    return isRequired || isFound(found, has) ? [found] : [];
  });
}

/** Whether any tensor of the branch is there. */
export function isFound({ stages }: PlannedBranch, has: (key: string) => boolean): boolean {
  return stages.some((stage) => possibleKeys(stage).some(has));
}

/** The indices that exist, and the first that should: 0, or the first gap. */
function expectedIndices(branch: BranchRule, indices: (before: string) => readonly number[]): number[] {
  const [first] = branch.chains[0]!.flatMap(requiredKeys);
  const found = indices(first!.slice(0, first!.indexOf('{i}')));
  const gap = found.findIndex((value, position) => value !== position);
  if (found.length === 0) return [0];
  return gap === -1 ? [...found] : [...found.slice(0, gap), gap, ...found.slice(gap)];
}

/** The chain that the tensors fit best: most of them taken, fewest lacking. */
function choose(branch: BranchRule, index: number, has: (key: string) => boolean): PlannedBranch {
  const score = ({ stages }: PlannedBranch) =>
    stages.flatMap(possibleKeys).filter(has).length - stages.flatMap(requiredKeys).filter((key) => !has(key)).length;
  return branch.chains
    .map((chain) => plan(branch, chain, index))
    .reduce((best, next) => (score(next) > score(best) ? next : best));
}

function plan({ name, role }: BranchRule, chain: readonly StageRule[], index: number): PlannedBranch {
  const fill = (text: string) => text.replace('{i}', String(index));
  const stages = chain.map((stage): StageRule => {
    if ('conv' in stage) return { ...stage, conv: fill(stage.conv) };
    if ('batchNorm' in stage) return { batchNorm: fill(stage.batchNorm) };
    return stage;
  });
  return { name: fill(name), role, stages };
}
