import type { StateDict } from '../checkpoint/state-dict';
import { torchName } from '../checkpoint/torch/torch-pickle';
import { DTYPES } from '../tensor/dtype';
import type { FusedShape } from './fused-shape';
import type { KeyIndex } from './key-index';
import type { FamilyRule, StageRule } from './rule';
import { shapeProblem } from './shapes';
import { batchNormKeys, possibleKeys, type ResolvedBranch, requiredKeys } from './stages';

/** What keeps a block from being fused. */
export interface BlockProblem {
  readonly kind: 'partial' | 'ambiguous' | 'unsupported';
  /** One sentence that names the tensors. */
  readonly reason: string;
  readonly tensors: readonly string[];
  /** The block is whole, but a tensor of it is of a type that is not computed with. */
  readonly ofType?: true;
}

/** A block in training form, as far as its keys tell. */
export interface BlockCandidate {
  readonly rule: FamilyRule;
  /** What its keys begin with, the dot included. */
  readonly prefix: string;
  readonly branches: readonly ResolvedBranch[];
  readonly after: readonly StageRule[];
  /** undefined without a main convolution. */
  readonly shape: FusedShape | undefined;
  readonly deployComplete: boolean;
}

/** Why the block cannot be fused, or undefined. Values are not looked at. */
export function findProblem(
  block: BlockCandidate,
  tensors: StateDict,
  keys: KeyIndex,
  unread: ReadonlyMap<string, string> | undefined,
): BlockProblem | undefined {
  return (
    conflict(block, keys) ??
    strangers(block, keys) ??
    unreadProblem(
      allStages(block)
        .flatMap(possibleKeys)
        .map((key) => block.prefix + key),
      unread,
    ) ??
    withoutStatistics(block, tensors) ??
    missing(block, tensors) ??
    misshapen(block, tensors) ??
    mistyped(block, tensors)
  );
}

/** Keys that the rule names as telling of other maths. */
function conflict({ rule, prefix }: BlockCandidate, keys: KeyIndex): BlockProblem | undefined {
  for (const { key, kind, because } of rule.conflicts ?? []) {
    const path = resolve(prefix, key);
    const found = keys.under(path).filter((name) => name === path || path.endsWith('.'));
    if (found.length > 0) return { kind, reason: `${found.join(', ')}: ${because}`, tensors: found };
  }
  return undefined;
}

function resolve(prefix: string, key: string): string {
  if (!key.startsWith('../')) return prefix + key;
  return resolve(prefix.slice(0, prefix.lastIndexOf('.', prefix.length - 2) + 1), key.slice(3));
}

/** Tensors among those of the branches that no stage takes: the block is of another make than it seems. */
function strangers(block: BlockCandidate, keys: KeyIndex): BlockProblem | undefined {
  const { rule, prefix } = block;
  const { deploy, leftovers = [], ownNames = [] } = rule;
  const known = new Set([...allStages(block).flatMap(possibleKeys), deploy.weight, deploy.bias]);
  const isLeftover = (key: string) =>
    leftovers.some((name) => key === name || (name.endsWith('.') && key.startsWith(name)));
  const firstNames = rule.branches.flatMap(({ chains }) => chains.flat().flatMap(possibleKeys).flatMap(firstName));
  const found = [...new Set([...firstNames, ...ownNames])]
    .flatMap((name) => keys.under(prefix + name))
    .filter((key) => !known.has(key.slice(prefix.length)) && !isLeftover(key.slice(prefix.length)));
  if (found.length === 0) return undefined;
  return {
    kind: 'unsupported',
    reason: `tensors that ${rule.family} does not have: ${[...new Set(found)].join(', ')}`,
    tensors: [...new Set(found)],
  };
}

/** The stages of all branches and those that follow. */
function allStages({ branches, after }: BlockCandidate): StageRule[] {
  return [...branches.flatMap(({ stages }) => stages), ...after];
}

/** The module of a tensor within the block, with its dot; none for a tensor of the block itself, or of a numbered part of it. */
function firstName(key: string): string[] {
  const name = key.slice(0, key.indexOf('.') + 1);
  return /^\d*\.?$/.test(name) ? [] : [name];
}

/** BatchNorms with weight or bias but neither running mean nor variance. */
function withoutStatistics(block: BlockCandidate, tensors: StateDict): BlockProblem | undefined {
  const { prefix } = block;
  const has = (key: string) => tensors.has(prefix + key);
  const found = allStages(block)
    .filter(isBatchNorm)
    .filter((stage) => possibleKeys(stage).some(has) && !requiredKeys(stage).some(has))
    .flatMap((stage) => requiredKeys(stage).map((key) => prefix + key));
  if (found.length === 0) return undefined;
  return {
    kind: 'unsupported',
    reason: `no running statistics (${found.join(', ')}): a GroupNorm, or a BatchNorm that does not track them, is no affine map`,
    tensors: found,
  };
}

function isBatchNorm(stage: StageRule): boolean {
  return 'batchNorm' in stage;
}

function missing(block: BlockCandidate, tensors: StateDict): BlockProblem | undefined {
  const { prefix, deployComplete } = block;
  const found = allStages(block)
    .flatMap(requiredKeys)
    .map((key) => prefix + key)
    .filter((key) => !tensors.has(key));
  if (found.length === 0) return undefined;
  const beside = deployComplete ? ', beside complete deploy tensors: is this a file that was converted by halves?' : '';
  return { kind: 'partial', reason: `training tensors are missing: ${found.join(', ')}${beside}`, tensors: found };
}

function misshapen(block: BlockCandidate, tensors: StateDict): BlockProblem | undefined {
  const { combine = 'sum', anchor, ungrouped } = block.rule;
  const { shape } = block;
  if (shape === undefined) return undefined; // the main convolution is missing, which has been told
  const wrong = shapeProblem({ ...block, shape, combine, anchor }, tensors);
  if (wrong === undefined && ungrouped !== undefined && shape.groups !== 1)
    return { kind: 'unsupported', reason: `${shape.groups} groups: ${ungrouped}`, tensors: [block.prefix + anchor] };
  if (wrong === undefined) return undefined;
  return { kind: 'unsupported', reason: `${wrong.tensor}: ${wrong.problem}`, tensors: [wrong.tensor] };
}

/** Tensors of types that are not read: there, but nothing can be said of them. */
export function unreadProblem(
  keys: readonly string[],
  unread: ReadonlyMap<string, string> | undefined,
): BlockProblem | undefined {
  const key = unread?.size ? keys.find((name) => unread.has(name)) : undefined;
  if (key === undefined) return undefined;
  return { kind: 'unsupported', reason: `${key} is ${unread!.get(key)}, which is not computed with`, tensors: [key] };
}

/** A tensor whose values are no floating-point numbers that are computed with, in a block that is whole otherwise. */
function mistyped(block: BlockCandidate, tensors: StateDict): BlockProblem | undefined {
  for (const key of allStages(block).flatMap(valueKeys)) {
    const tensor = block.prefix + key;
    const dtype = tensors.get(tensor)?.dtype;
    if (dtype === undefined || DTYPES[dtype].floating) continue;
    const kind = /^[FC]/.test(dtype) ? 'is not computed with' : 'is no floating-point type';
    return {
      kind: 'unsupported',
      reason: `${tensor}: dtype ${dtype} (${torchName(dtype)}) ${kind}`,
      tensors: [tensor],
      ofType: true,
    };
  }
  return undefined;
}

/** Keys of a stage whose values are computed with: all but a BatchNorm's counter. */
function valueKeys(stage: StageRule): string[] {
  return 'batchNorm' in stage
    ? possibleKeys(stage).filter((key) => key !== batchNormKeys(stage).counter)
    : possibleKeys(stage);
}

/** A BatchNorm that the network made before the convolution that it seems to follow: perhaps it precedes it. */
export function wrongOrder({ rule, prefix, branches }: BlockCandidate, keys: KeyIndex): BlockProblem | undefined {
  const batchNorm = branches.flatMap(({ stages }) => stages).find(isBatchNorm);
  if (!rule.inOrder || batchNorm === undefined) return undefined;
  const [conv, mean] = [prefix + rule.anchor, prefix + requiredKeys(batchNorm)[0]!];
  if (keys.positionOf(conv) < keys.positionOf(mean)) return undefined;
  return {
    kind: 'ambiguous',
    reason: `${mean} stands before ${conv} in the file: in a pre-activation network the BatchNorm precedes the convolution and cannot be folded into it (\`keepBlocks\` leaves both)`,
    tensors: [mean, conv],
  };
}
