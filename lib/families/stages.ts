import { fillPlaceholders } from './placeholders';
import type { BatchNormRule, BranchRole, BranchRule, ConvRule, FamilyRule, StageRule } from './rule';

/** Keys of a convolution. */
export function convKeys({ conv }: ConvRule): { readonly weight: string; readonly bias?: string } {
  return typeof conv === 'string' ? { weight: `${conv}.weight`, bias: `${conv}.bias` } : conv;
}

/** Keys of a BatchNorm. */
export function batchNormKeys({ batchNorm, paddle = false }: BatchNormRule) {
  const [mean, variance] = paddle ? ['_mean', '_variance'] : ['running_mean', 'running_var'];
  return {
    weight: `${batchNorm}.weight`,
    bias: `${batchNorm}.bias`,
    mean: `${batchNorm}.${mean}`,
    variance: `${batchNorm}.${variance}`,
    counter: `${batchNorm}.num_batches_tracked`,
  };
}

/** The keys that a stage cannot do without. */
export function requiredKeys(stage: StageRule): string[] {
  if ('conv' in stage) return [convKeys(stage).weight];
  if ('batchNorm' in stage) {
    const { mean, variance } = batchNormKeys(stage);
    return [mean, variance];
  }
  if ('scale' in stage) return stage.optional === true ? [] : [stage.scale];
  return 'bias' in stage ? [stage.bias] : [];
}

/** All keys that a stage may have. */
export function possibleKeys(stage: StageRule): string[] {
  if ('conv' in stage) return Object.values(convKeys(stage));
  if ('batchNorm' in stage) return Object.values(batchNormKeys(stage));
  if ('scale' in stage) return [stage.scale];
  return requiredKeys(stage);
}

/** A branch of a rule as a block has it, or should have it: its numbers filled in, one of its chains chosen. */
export interface ResolvedBranch {
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
export function resolveBranches(
  rule: FamilyRule,
  counts: BranchCounts,
  chainOf: Partial<Readonly<Record<BranchRole, number>>> = {},
): ResolvedBranch[] {
  return rule.branches.flatMap((branch) =>
    Array.from({ length: counts[branch.role] ?? 0 }, (_, index) =>
      resolve(branch, branch.chains[chainOf[branch.role] ?? 0]!, { i: index }),
    ),
  );
}

/** The keys of a block, as its rule's branches are matched against them. */
export interface BlockKeys {
  /** Whether a key exists, relative to the block. */
  has(key: string): boolean;
  /** The sets of numbers for which a key with placeholders exists, ascending. */
  numbersOf(key: string): readonly Readonly<Record<string, number>>[];
}

/**
 * The branches that a block in a state dict should have, by the keys that are there: every required one, the optional ones of
 * which a tensor exists, the repeated ones by their indices; keyless ones are for the caller to judge.
 */
export function expectedBranches(
  rule: FamilyRule,
  keys: BlockKeys,
  isThere: (keyless: BranchRule) => boolean,
): ResolvedBranch[] {
  return rule.branches.flatMap((branch) => {
    switch (branch.presence) {
      case 'repeated':
        return expectedIndices(branch, keys).map((i) => choose(branch, { i }, keys));
      case 'each':
        return keys.numbersOf(firstKey(branch)).map((numbers) => choose(branch, numbers, keys));
      case 'keyless':
        return isThere(branch) ? [choose(branch, {}, keys)] : [];
      default: {
        const found = choose(branch, {}, keys);
        const isRequired =
          branch.presence === 'required' || (branch.requiredBeside !== undefined && keys.has(branch.requiredBeside));
        return isRequired || isFound(found, keys) ? [found] : [];
      }
    }
  });
}

/** The stages that follow the sum, as the file has them. */
export function expectedAfter({ after = [] }: FamilyRule, keys: BlockKeys): StageRule[] {
  return present(after, keys);
}

/** Whether any tensor of the branch is there; factors and constants count only where it has nothing else. */
export function isFound({ stages }: ResolvedBranch, { has }: BlockKeys): boolean {
  if (stages.length === 0 || stages.every((stage) => possibleKeys(stage).length === 0)) return true;
  const telling = stages.filter((stage) => 'conv' in stage || 'batchNorm' in stage);
  return (telling.length > 0 ? telling : stages).some((stage) => possibleKeys(stage).some(has));
}

function firstKey({ chains }: BranchRule): string {
  return chains[0]!.flatMap(requiredKeys)[0]!;
}

/** The indices that exist, and the first that should: 0, or the first gap. */
function expectedIndices(branch: BranchRule, keys: BlockKeys): number[] {
  const found = keys.numbersOf(firstKey(branch)).map(({ i }) => i!);
  const gap = found.findIndex((value, position) => value !== position);
  if (found.length === 0) return [0];
  return gap === -1 ? [...found] : [...found.slice(0, gap), gap, ...found.slice(gap)];
}

/** The chain that the tensors fit best: most of them taken, fewest lacking. */
function choose(branch: BranchRule, numbers: Readonly<Record<string, number>>, keys: BlockKeys): ResolvedBranch {
  const { has } = keys;
  const score = ({ stages }: ResolvedBranch) =>
    stages.flatMap(possibleKeys).filter(has).length - stages.flatMap(requiredKeys).filter((key) => !has(key)).length;
  return branch.chains
    .map((chain) => {
      const resolved = resolve(branch, chain, numbers);
      return { ...resolved, stages: present(resolved.stages, keys) };
    })
    .reduce((best, next) => (score(next) > score(best) ? next : best));
}

/** Stages without those that are optional and absent, BatchNorms under the names that the file has. */
function present(stages: readonly StageRule[], { has }: BlockKeys): StageRule[] {
  return stages.flatMap((stage): StageRule[] => {
    if ('scale' in stage) return has(stage.scale) || !stage.optional || stage.negative ? [stage] : [];
    if (!('batchNorm' in stage)) return [stage];
    const paddle: BatchNormRule = { ...stage, paddle: true };
    const named = requiredKeys(paddle).some(has) ? paddle : stage;
    return stage.optional && !possibleKeys(named).some(has) ? [] : [named];
  });
}

function resolve(
  { name, role }: BranchRule,
  chain: readonly StageRule[],
  numbers: Readonly<Record<string, number>>,
): ResolvedBranch {
  if (Object.keys(numbers).length === 0) return { name, role, stages: chain };
  return fillPlaceholders({ name, role, stages: chain }, numbers);
}
