import type { StateDict } from '../checkpoint/state-dict';
import type { Branch } from '../ops';
import { DTYPES } from '../tensor/dtype';
import { formatShape, type Tensor } from '../tensor/tensor';
import {
  type BlockGeometry,
  buildBranch,
  type PresentBranch,
  possibleKeys,
  presentBranches,
  requiredKeys,
} from './branches';
import type { FamilyRule } from './rule';
import { FAMILY_RULES } from './rules';

/** What keeps a block from being fused. */
export interface BlockProblem {
  readonly kind: 'partial' | 'ambiguous' | 'unsupported';
  /** One sentence that names the tensors. */
  readonly reason: string;
  readonly tensors: readonly string[];
}

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
  /** `mixed`: complete in both forms. */
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
}

/**
 * Finds every block of a known system, at any prefix, in file order. Nothing is computed and no model code is needed: a block
 * is what its keys say. Each comes with its branches (stride 1, taps centred) or with the problem that keeps it from being fused.
 */
export function detectBlocks(tensors: StateDict, { rules = FAMILY_RULES, eps }: DetectOptions = {}): DetectedBlock[] {
  const claimed = new Set<string>();
  const found: DetectedBlock[] = [];
  for (const rule of rules) {
    if (rule.onlyBeside !== undefined && !found.some(({ family }) => family === rule.onlyBeside)) continue;
    for (const prefix of blockPrefixes(tensors, rule, claimed)) {
      const block = examine(tensors, prefix, rule, rules, eps);
      for (const key of [...block.trainKeys, ...deployKeysOf(block)]) claimed.add(key);
      found.push(block);
    }
  }
  const position = new Map([...tensors.keys()].map((key, index) => [key, index]));
  const first = (block: DetectedBlock) => position.get(block.trainKeys[0] ?? block.deployKeys.weight) ?? 0;
  return found.sort((a, b) => first(a) - first(b));
}

function deployKeysOf({ form, deployKeys }: DetectedBlock): string[] {
  return form === 'train' ? [] : [deployKeys.weight, deployKeys.bias];
}

/** Prefixes (with their dot) under which a rule's anchor, any other of its training keys, or its deploy key stands. */
function blockPrefixes(tensors: StateDict, rule: FamilyRule, claimed: ReadonlySet<string>): string[] {
  const suffixes = [rule.anchor, ...(rule.deployIsEvident ? [rule.deploy.weight, ...otherAnchors(rule)] : [])];
  const prefixes = new Set<string>();
  for (const key of tensors.keys()) {
    if (claimed.has(key)) continue;
    for (const suffix of suffixes) {
      if (key !== suffix && !key.endsWith(`.${suffix}`)) continue;
      const prefix = key.slice(0, key.length - suffix.length);
      if (rule.distinguishedBy !== undefined && !isDistinguished(tensors, prefix, rule)) continue;
      prefixes.add(prefix);
    }
  }
  return [...prefixes];
}

/** Conv weights of the other branches: a block that lost its main branch is still a (partial) block. */
function otherAnchors(rule: FamilyRule): string[] {
  return rule.branches
    .filter(({ presence }) => presence === 'required')
    .flatMap(({ chains }) => chains.flatMap((chain) => chain.flatMap(requiredKeys)))
    .filter((key) => key.endsWith('.weight') && key !== rule.anchor);
}

/** A deploy tensor alone cannot tell two systems with equal deploy names apart; the later rule then takes it. */
function isDistinguished(tensors: StateDict, prefix: string, rule: FamilyRule): boolean {
  return tensors.has(prefix + rule.distinguishedBy);
}

function examine(
  tensors: StateDict,
  prefix: string,
  rule: FamilyRule,
  rules: readonly FamilyRule[],
  epsOption: number | undefined,
): DetectedBlock {
  const has = (key: string) => tensors.has(prefix + key);
  const deployKeys = { weight: prefix + rule.deploy.weight, bias: prefix + rule.deploy.bias };
  const deployComplete = rule.deployIsEvident && tensors.has(deployKeys.weight) && tensors.has(deployKeys.bias);
  const present = presentBranches(rule, has);
  const known = new Set([...present.flatMap(({ stages }) => stages.flatMap(possibleKeys)), ...(rule.leftovers ?? [])]);
  const trainKeys = [...known].filter(has).map((key) => prefix + key);
  const anchor = tensors.get(prefix + rule.anchor);
  const shape = (anchor ?? tensors.get(deployKeys.weight))?.shape ?? [];
  const [outChannels = 0, inPerGroup = 0, kh = 0, kw = 0] = shape;
  const common = {
    prefix: prefix.replace(/\.$/, ''),
    family: rule.family,
    anchorKey: prefix + rule.anchor,
    deployKeys,
    outChannels,
    inPerGroup,
    kernel: [kh, kw] as const,
    eps: chooseEps(rule, prefix, epsOption),
  };
  const nothing = { branches: [], groups: null };
  if (trainKeys.length === 0)
    return { ...common, ...nothing, family: deployFamilies(rule, rules), form: 'deploy', branchNames: [], trainKeys };

  const branchNames = present.map(({ name }) => name);
  const groups = deriveGroups(present, tensors, prefix, inPerGroup);
  const problem = findProblem(present, tensors, prefix, rule, known, groups);
  const form = deployComplete ? ('mixed' as const) : ('train' as const);
  if (problem !== undefined) return { ...common, ...nothing, form, branchNames, trainKeys, problem };
  const geometry: BlockGeometry = {
    kernel: common.kernel,
    stride: [1, 1],
    padding: [Math.floor(kh / 2), Math.floor(kw / 2), Math.floor(kh / 2), Math.floor(kw / 2)],
    dilation: [1, 1],
    groups: groups ?? 1,
  };
  const branches = present.map((branch) => buildBranch(branch, tensors, prefix, geometry, () => common.eps.value));
  return { ...common, form, branches, branchNames, trainKeys, groups };
}

/** Deploy names are shared between systems; then the file cannot tell which one it was. */
function deployFamilies(rule: FamilyRule, rules: readonly FamilyRule[]): string {
  return rules
    .filter(({ deploy, deployIsEvident }) => deployIsEvident && deploy.weight === rule.deploy.weight)
    .map(({ family }) => family)
    .join(' or ');
}

function chooseEps(rule: FamilyRule, prefix: string, option: number | undefined): EpsChoice {
  if (option !== undefined) return { value: option, source: 'option' };
  const evidence = rule.epsEvidence?.find(({ pattern }) => new RegExp(pattern).test(prefix));
  if (evidence !== undefined) return { value: evidence.eps, source: evidence.because };
  return { value: rule.eps, source: `default of ${rule.family}` };
}

/**
 * Groups, where a tensor fixes the input channels: an identity BatchNorm or a pooled input has all of them, and the map between
 * two convolutions has as many channels as the second sees times its groups.
 */
function deriveGroups(
  present: readonly PresentBranch[],
  tensors: StateDict,
  prefix: string,
  inPerGroup: number,
): number | null {
  for (const { stages } of present) {
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

function findProblem(
  present: readonly PresentBranch[],
  tensors: StateDict,
  prefix: string,
  rule: FamilyRule,
  known: ReadonlySet<string>,
  groups: number | null,
): BlockProblem | undefined {
  const missing = present
    .flatMap(({ stages }) => stages.flatMap(requiredKeys))
    .map((key) => prefix + key)
    .filter((key) => !tensors.has(key));
  if (missing.length > 0) {
    return { kind: 'partial', reason: `training tensors are missing: ${missing.join(', ')}`, tensors: missing };
  }
  const strangers = strangersOf(rule, tensors, prefix, known);
  if (strangers.length > 0) {
    return {
      kind: 'unsupported',
      reason: `tensors that ${rule.family} does not have: ${strangers.join(', ')}`,
      tensors: strangers,
    };
  }
  for (const { stages } of present) {
    const wrong = checkStages(stages, tensors, prefix, tensors.get(prefix + rule.anchor)!, groups);
    if (wrong !== undefined)
      return { kind: 'unsupported', reason: `${wrong.tensor}: ${wrong.problem}`, tensors: [wrong.tensor] };
  }
  return undefined;
}

/** Tensors under a branch's own prefix that no stage takes: the block is of another make than it seems. */
function strangersOf(rule: FamilyRule, tensors: StateDict, prefix: string, known: ReadonlySet<string>): string[] {
  const owned = rule.branches.map(
    ({ name }) => prefix + (name.includes('{i}') ? name.slice(0, name.indexOf('{i}')) : `${name}.`),
  );
  return [...tensors.keys()].filter(
    (key) => owned.some((start) => key.startsWith(start)) && !known.has(key.slice(prefix.length)),
  );
}

interface Wrong {
  readonly tensor: string;
  readonly problem: string;
}

/** Shapes and types of one branch: each stage must fit the one before, the last the block's output. */
function checkStages(
  stages: PresentBranch['stages'],
  tensors: StateDict,
  prefix: string,
  anchor: Tensor,
  groups: number | null,
): Wrong | undefined {
  const [blockOut, blockIn, blockHeight, blockWidth] = anchor.shape as [number, number, number, number];
  // Channels of the map that the next stage sees; null at the input as long as groups are unknown.
  let channels = groups === null ? null : blockIn * groups;
  let tensor = prefix;
  for (const stage of stages) {
    if ('conv' in stage) {
      tensor = `${prefix}${stage.conv}.weight`;
      const weight = tensors.get(tensor)!;
      const wrongType = checkFloating(tensor, weight);
      if (wrongType !== undefined) return wrongType;
      if (weight.shape.length !== 4 || weight.shape.includes(0))
        return { tensor, problem: `shape ${formatShape(weight.shape)} is no convolution kernel` };
      const [out, inPerGroup, height, width] = weight.shape as [number, number, number, number];
      if (channels === null ? inPerGroup !== blockIn : inPerGroup * (groups ?? 1) !== channels) {
        return {
          tensor,
          problem: `shape ${formatShape(weight.shape)} does not fit the ${channels ?? blockIn} input channels that the other branches have`,
        };
      }
      if (
        stage.geometry !== 'pointwise' &&
        (height > blockHeight ||
          width > blockWidth ||
          (blockHeight - height) % 2 !== 0 ||
          (blockWidth - width) % 2 !== 0)
      ) {
        return {
          tensor,
          problem: `shape ${formatShape(weight.shape)} cannot be centred on the block's ${blockHeight}x${blockWidth} kernel`,
        };
      }
      if (stage.geometry === 'pointwise' && (height !== 1 || width !== 1))
        return { tensor, problem: `shape ${formatShape(weight.shape)} is not 1x1` };
      if (stage.plusIdentity && out !== inPerGroup * (groups ?? 1))
        return { tensor, problem: `shape ${formatShape(weight.shape)} has no identity` };
      const bias = tensors.get(`${prefix}${stage.conv}.bias`);
      if (bias !== undefined && bias.size !== out)
        return {
          tensor: `${prefix}${stage.conv}.bias`,
          problem: `shape ${formatShape(bias.shape)} does not fit ${out} channels`,
        };
      channels = out;
    } else if ('batchNorm' in stage) {
      const expected = channels ?? blockOut;
      for (const member of ['running_mean', 'running_var', 'weight', 'bias']) {
        const key = `${prefix}${stage.batchNorm}.${member}`;
        const values = tensors.get(key);
        if (values === undefined) continue;
        const wrongType = checkFloating(key, values);
        if (wrongType !== undefined) return wrongType;
        if (values.shape.length !== 1 || values.size !== expected)
          return { tensor: key, problem: `shape ${formatShape(values.shape)} does not fit ${expected} channels` };
      }
      tensor = `${prefix}${stage.batchNorm}.running_mean`;
      channels = expected;
    }
  }
  if (channels !== blockOut)
    return {
      tensor,
      problem: `the branch yields ${channels} channels, shape ${formatShape(anchor.shape)} of the main branch ${blockOut}`,
    };
  return undefined;
}

function checkFloating(tensor: string, { dtype }: Tensor): Wrong | undefined {
  return DTYPES[dtype].floating
    ? undefined
    : { tensor, problem: `dtype ${dtype} (${DTYPE_WORDS[dtype] ?? dtype}) is no floating-point type` };
}

const DTYPE_WORDS: Readonly<Record<string, string>> = {
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
};
