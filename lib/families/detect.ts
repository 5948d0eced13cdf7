import type { StateDict } from '../checkpoint/state-dict';
import type { Branch } from '../ops';
import { buildBranch } from './branches';
import { KeyIndex } from './key-index';
import { type BlockProblem, findProblem } from './problem';
import type { FamilyRule } from './rule';
import { FAMILY_RULES } from './rules';
import { expectedBranches, isFound, type PlannedBranch, possibleKeys, requiredKeys } from './stages';

/** The eps that a block's BatchNorms are taken to have, and why. */
export interface EpsChoice {
  readonly value: number;
  readonly source: string;
}

/** A re-parameterizable block found in a state dict. */
export interface DetectedBlock {
  /** Dotted path of the block, '' at the root. */
  readonly prefix: string;
  readonly family: string;
  /** `mixed`: training tensors beside a complete deploy form. */
  readonly form: 'train' | 'deploy' | 'mixed';
  /** The training branches, in the order in which they are summed; empty in deploy form or with a problem. */
  readonly branches: readonly Branch[];
  /** Names of the branches found, also of a block with a problem. */
  readonly branchNames: readonly string[];
  /** Weight of the main convolution, in training form. */
  readonly anchorKey: string;
  /** Every key of the training form that is there. */
  readonly trainKeys: readonly string[];
  /** Where the fused tensors go. */
  readonly deployKeys: { readonly weight: string; readonly bias: string };
  readonly outChannels: number;
  /** Input channels of one group; times `groups` where those are known. */
  readonly inPerGroup: number;
  readonly kernel: readonly [number, number];
  /** null where no tensor fixes it: then the fused values do not depend on it. */
  readonly groups: number | null;
  readonly eps: EpsChoice;
  readonly problem?: BlockProblem;
}

export interface DetectOptions {
  /** Default: every rule that repfuse knows. */
  readonly rules?: readonly FamilyRule[];
  /** Overrides every family's eps. */
  readonly eps?: number | undefined;
  /** eps of a BatchNorm by its key prefix, where something tells it (a graph does); `eps` comes before it, the family's after. */
  readonly epsOf?: ((batchNorm: string) => EpsChoice | undefined) | undefined;
}

/**
 * Finds every block of a known system, at any prefix, in file order. Nothing is computed and no model code is needed: a block
 * is what its keys say. Each comes with its branches (stride 1, taps centred) or with the problem that keeps it from being fused.
 */
export function detectBlocks(tensors: StateDict, options: DetectOptions = {}): DetectedBlock[] {
  const { rules = FAMILY_RULES } = options;
  const keys = new KeyIndex(tensors.keys());
  const claimed = new Set<string>();
  const found: DetectedBlock[] = [];
  for (const rule of rules) {
    if (rule.onlyBeside !== undefined && !found.some(({ family }) => family === rule.onlyBeside)) continue;
    const blocks = blockPrefixes(tensors, rule, claimed).map((prefix) =>
      examine(tensors, keys, prefix, rule, rules, options),
    );
    if (!blocks.some((block) => isSure(block, rule))) continue;
    for (const block of blocks) for (const key of ownKeys(block)) claimed.add(key);
    found.push(...blocks);
  }
  return inFileOrder(found, tensors);
}

function inFileOrder(blocks: readonly DetectedBlock[], tensors: StateDict): DetectedBlock[] {
  const owner = new Map(blocks.flatMap((block) => ownKeys(block).map((key) => [key, block] as const)));
  const ordered = new Set<DetectedBlock>();
  for (const key of tensors.keys()) {
    const block = owner.get(key);
    if (block !== undefined) ordered.add(block);
  }
  return [...ordered];
}

function isSure({ form, branchNames }: DetectedBlock, { provingBranches = 1 }: FamilyRule): boolean {
  return form !== 'train' || branchNames.length >= provingBranches;
}

/** No other block may have these keys. */
function ownKeys({ trainKeys, deployKeys, problem }: DetectedBlock): string[] {
  return [...trainKeys, deployKeys.weight, deployKeys.bias, ...(problem?.tensors ?? [])];
}

/**
 * Prefixes (with their dot) under which a convolution of the rule's branches stands, or its deploy form: a block that lost its
 * main convolution is still a (partial) block.
 */
function blockPrefixes(tensors: StateDict, rule: FamilyRule, claimed: ReadonlySet<string>): string[] {
  const convolutions = rule.branches.flatMap(({ chains }) => chains.flat().filter((stage) => 'conv' in stage));
  const suffixes = rule.deployIsEvident
    ? [...convolutions.flatMap(requiredKeys), rule.deploy.weight, rule.deploy.bias]
    : [rule.anchor];
  const pattern = new RegExp(`^((?:.*\\.)?)(?:${suffixes.map(suffixPattern).join('|')})$`, 's');
  const isDistinguished = (prefix: string) =>
    rule.distinguishedBy === undefined || rule.distinguishedBy.some((key) => tensors.has(prefix + key));
  const prefixes = new Set<string>();
  for (const key of tensors.keys()) {
    const prefix = claimed.has(key) ? undefined : pattern.exec(key)?.[1];
    if (prefix !== undefined && isDistinguished(prefix)) prefixes.add(prefix);
  }
  return [...prefixes];
}

function suffixPattern(suffix: string): string {
  return suffix
    .split('{i}')
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
    .join('\\d+');
}

function examine(
  tensors: StateDict,
  keys: KeyIndex,
  prefix: string,
  rule: FamilyRule,
  rules: readonly FamilyRule[],
  options: DetectOptions,
): DetectedBlock {
  const has = (key: string) => tensors.has(prefix + key);
  const expected = expectedBranches(rule, has, (before) => keys.indicesAfter(prefix + before));
  const found = expected.filter((branch) => isFound(branch, has));
  const deployKeys = { weight: prefix + rule.deploy.weight, bias: prefix + rule.deploy.bias };
  const anchor = tensors.get(prefix + rule.anchor);
  const [outChannels = 0, inPerGroup = 0, kh = 0, kw = 0] = (anchor ?? tensors.get(deployKeys.weight))?.shape ?? [];
  const choose = (batchNorm: string): EpsChoice =>
    (options.eps === undefined && options.epsOf?.(prefix + batchNorm)) || chooseEps(rule, prefix, options.eps);
  const batchNorms = found.flatMap(({ stages }) =>
    stages.flatMap((stage) => ('batchNorm' in stage ? [stage.batchNorm] : [])),
  );
  const common = {
    prefix: prefix.replace(/\.$/, ''),
    anchorKey: prefix + rule.anchor,
    deployKeys,
    outChannels,
    inPerGroup,
    kernel: [kh, kw] as const,
    eps: summarize(batchNorms.map(choose)) ?? chooseEps(rule, prefix, options.eps),
  };
  if (found.length === 0) return { ...common, ...deployForm(rule, rules, tensors, deployKeys) };

  const deployComplete = rule.deployIsEvident && tensors.has(deployKeys.weight) && tensors.has(deployKeys.bias);
  const groups = deriveGroups(expected, tensors, prefix, inPerGroup);
  const block = {
    ...common,
    family: rule.family,
    form: deployComplete ? ('mixed' as const) : ('train' as const),
    branchNames: found.map(({ name }) => name),
    trainKeys: [...expected.flatMap(({ stages }) => stages.flatMap(possibleKeys)), ...(rule.leftovers ?? [])]
      .filter(has)
      .map((key) => prefix + key),
  };
  const problem = findProblem({ rule, prefix, branches: expected, groups, deployComplete }, tensors, keys);
  if (problem !== undefined) return { ...block, branches: [], groups: null, problem };
  const [top, left] = [Math.floor(kh / 2), Math.floor(kw / 2)];
  const geometry = {
    kernel: common.kernel,
    stride: [1, 1],
    padding: [top, left, top, left],
    dilation: [1, 1],
    groups: groups ?? 1,
  } as const;
  const branches = expected.map((branch) => buildBranch(branch, tensors, prefix, geometry, (key) => choose(key).value));
  return { ...block, branches, groups };
}

/** A block without training tensors. Deploy names are shared between systems: the file cannot tell which one it was. */
function deployForm(
  rule: FamilyRule,
  rules: readonly FamilyRule[],
  tensors: StateDict,
  { weight, bias }: DetectedBlock['deployKeys'],
) {
  const family = rules
    .filter(({ deploy, deployIsEvident }) => deployIsEvident && deploy.weight === rule.deploy.weight)
    .map((other) => other.family)
    .join(' or ');
  const block = { family, form: 'deploy' as const, branches: [], branchNames: [], trainKeys: [], groups: null };
  if (tensors.has(weight)) return block;
  return {
    ...block,
    problem: { kind: 'partial' as const, reason: `${weight} is missing beside ${bias}`, tensors: [weight] },
  };
}

function chooseEps(rule: FamilyRule, prefix: string, option: number | undefined): EpsChoice {
  if (option !== undefined) return { value: option, source: 'option' };
  const evidence = rule.epsEvidence?.find(({ pattern }) => new RegExp(pattern).test(prefix));
  if (evidence !== undefined) return { value: evidence.eps, source: evidence.because };
  return { value: rule.eps, source: `default of ${rule.family}` };
}

/** One choice for the report of a block. */
function summarize([first, ...others]: readonly EpsChoice[]): EpsChoice | undefined {
  if (first === undefined || others.every(({ value }) => value === first.value)) return first;
  return { value: first.value, source: `${first.source}, differing by BatchNorm` };
}

/**
 * Groups, where a tensor fixes the input channels: an identity BatchNorm or a pooled input has all of them, and the map between
 * two convolutions has as many channels as the second sees times its groups.
 */
function deriveGroups(
  branches: readonly PlannedBranch[],
  tensors: StateDict,
  prefix: string,
  inPerGroup: number,
): number | null {
  for (const { stages } of branches) {
    const convs = stages
      .filter((stage) => 'conv' in stage)
      .map((stage) => tensors.get(`${prefix}${stage.conv}.weight`));
    if (convs.length === 0) {
      const channels = tensors.get(prefix + stages.flatMap(requiredKeys)[0]!)?.size;
      if (channels !== undefined && channels % inPerGroup === 0) return channels / inPerGroup;
    }
    const [first, second] = convs;
    if (first !== undefined && second?.shape.length === 4 && first.shape[0]! % second.shape[1]! === 0) {
      return first.shape[0]! / second.shape[1]!;
    }
  }
  return null;
}
