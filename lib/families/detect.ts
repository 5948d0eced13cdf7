import type { StateDict } from '../checkpoint/state-dict';
import type { Branch, Stage } from '../ops';
import { type BlockGeometry, buildBranch, buildStage } from './branches';
import type { DetectOptions } from './detect-options';
import { chooseEps, doubtfulEps, epsOfBlock, summarizeEps } from './eps';
import type { EpsChoice } from './eps-choice';
import { fusedShape, kernelShape } from './fused-shape';
import { KeyIndex } from './key-index';
import { whatIsKeyless } from './keyless';
import { KnownLayouts, layoutOf } from './known-layouts';
import { NetworkEvidence, type NetworkFacts, type TextEvidence, textEvidence } from './network-evidence';
import { patternOf } from './patterns';
import { type BlockCandidate, type BlockProblem, findProblem, unreadProblem, wrongOrder } from './problem';
import type { FamilyRule, StageRule } from './rule';
import { FAMILY_RULES } from './rules';
import { findSites, type Site } from './sites';
import {
  type BlockKeys,
  expectedAfter,
  expectedBranches,
  isFound,
  possibleKeys,
  type ResolvedBranch,
  requiredKeys,
} from './stages';

/** A re-parameterizable block found in a state dict. */
export interface DetectedBlock {
  /** Dotted path of the block, '' at the root; that of its convolution where several share a path. */
  readonly prefix: string;
  /** The family; of a deploy form all families that it may be of, joined by ` or `. */
  readonly family: string;
  /** One word: the family, or of those that a deploy form may be of the one that the others took its keys from. */
  readonly shortFamily: string;
  /** `mixed`: training tensors beside a complete deploy form. */
  readonly form: 'train' | 'deploy' | 'mixed';
  /** The training branches, in the order in which they are summed; empty in deploy form or with a problem. */
  readonly branches: readonly Branch[];
  /** What becomes of their outputs. */
  readonly combine: 'sum' | 'concat' | 'split';
  /** Affine stages after that, folded too: an outer BatchNorm. */
  readonly after: readonly Stage[];
  /** Names of the branches found, also of a block with a problem. */
  readonly branchNames: readonly string[];
  /** Weight of the main convolution, in training form. */
  readonly anchorKey: string;
  /** Every key of the training form that is there. */
  readonly trainKeys: readonly string[];
  /** Where the fused tensors go. */
  readonly deployKeys: { readonly weight: string; readonly bias: string };
  /** Where they go as an ordinary convolution at the block's path; the same where the family has that already. */
  readonly plainKeys: { readonly weight: string; readonly bias: string };
  readonly outChannels: number;
  /** Input channels of one group; times `groups` where those are known. */
  readonly inPerGroup: number;
  readonly kernel: readonly [number, number];
  /** Shape of the fused weight: OIHW, or [out, in] where the main layer is linear. */
  readonly weightShape: readonly number[];
  /** null where no tensor fixes it: then the fused values do not depend on it. */
  readonly groups: number | null;
  readonly eps: EpsChoice;
  readonly problem?: BlockProblem;
}

/**
 * Finds every block of a known system, at any prefix, in file order. Nothing is computed and no model code is needed: a block
 * is what its keys say. Each comes with its branches (stride 1, taps centred) or with the problem that keeps it from being fused.
 */
export function detectBlocks(tensors: StateDict, options: DetectOptions = {}): DetectedBlock[] {
  const evidence = textEvidence(options.texts ?? new Map());
  return planBlocks(tensors, evidence, options).map((plan) => blockOf(plan, tensors));
}

/**
 * The same, searched for once in files of one layout, as those of a sweep are. The blocks of such files have parts in common, which are not to
 * be written to.
 */
export function detectKnownBlocks(tensors: StateDict, options: DetectOptions): DetectedBlock[] {
  const evidence = textEvidence(options.texts ?? new Map());
  const layout = layoutOf(tensors, evidence, options);
  const plans = layouts.get(layout) ?? planBlocks(tensors, evidence, options);
  layouts.set(layout, plans);
  return plans.map((plan) => blockOf(plan, tensors));
}

/** The layouts seen last: files of one batch mostly have the same. */
const layouts = new KnownLayouts<readonly BlockPlan[]>();

/** A block as names and shapes tell it: of the file's tensors there are only names, so that it holds for any file of the same layout. */
interface BlockPlan {
  /** Without branches, and what follows them. */
  readonly block: DetectedBlock;
  readonly parts?: BlockParts;
}

/** What its branches are made of. */
interface BlockParts {
  /** Of its keys, with its dot. */
  readonly prefix: string;
  readonly branches: readonly ResolvedBranch[];
  readonly after: readonly StageRule[];
  readonly geometry: BlockGeometry;
  /** By the names of BatchNorms in stages. */
  readonly eps: ReadonlyMap<string, number>;
}

function blockOf({ block, parts }: BlockPlan, tensors: StateDict): DetectedBlock {
  if (parts === undefined) return block;
  const { prefix, branches, after, geometry, eps } = parts;
  const epsFor = (batchNorm: string) => eps.get(batchNorm)!;
  return {
    ...block,
    branches: branches.map((branch) => buildBranch(branch, tensors, prefix, geometry, epsFor)),
    after: after.map((stage) => buildStage(stage, tensors, prefix, geometry, epsFor)),
  };
}

function planBlocks(tensors: StateDict, evidence: TextEvidence, options: DetectOptions): BlockPlan[] {
  const { rules = FAMILY_RULES, families = [], unread = new Map() } = options;
  const names = [...tensors.keys(), ...unread.keys()];
  const keys = new KeyIndex(names);
  const networks = new NetworkEvidence(names, evidence);
  const search: Search = { tensors, keys, rules, options, networks };
  const claimed = new Set<string>();
  const found: BlockPlan[] = [];
  // Training tensors first: deploy names are shared, and some training forms hold them too.
  for (const form of ['train', 'deploy'] as const) {
    for (const rule of rules) {
      if (!isLookedFor(rule, families, found)) continue;
      const blocks = findSites(keys, rule, form, claimed).flatMap((site) => {
        if (!isAllowed(site, search)) return [];
        const plan = examine(site, search);
        return rule.onlyIfComplete && provesNoBlock(plan.block) ? [] : [plan];
      });
      if (!blocks.some(({ block }) => isSure(block, rule))) continue;
      for (const { block } of blocks) for (const key of ownKeys(block)) claimed.add(key);
      for (const plan of blocks) found.push(plan);
    }
  }
  return inFileOrder(found, names);
}

const NO_KERNEL = [0, 0, 0, 0] as const;

function isLookedFor(
  { family, onRequest = false, onlyBeside }: FamilyRule,
  asked: readonly string[],
  found: readonly BlockPlan[],
): boolean {
  if (asked.includes(family)) return true;
  return !onRequest && (onlyBeside === undefined || found.some(({ block }) => block.family === onlyBeside));
}

/** Whether the block may be of a family that is only looked for in its networks. */
function isAllowed({ prefix, rule }: Site, { networks, options }: Search): boolean {
  if (!rule.onlyInNetwork || options.families?.includes(rule.family)) return true;
  return networks.at(prefix).families.includes(rule.family);
}

/** Whether a block lacks what its keys promise; a type that is not computed with is no such lack. */
function provesNoBlock({ problem }: DetectedBlock): boolean {
  return problem !== undefined && problem.kind !== 'ambiguous' && problem.ofType !== true;
}

function inFileOrder(plans: readonly BlockPlan[], names: readonly string[]): BlockPlan[] {
  const owner = new Map(plans.flatMap((plan) => ownKeys(plan.block).map((key) => [key, plan] as const)));
  const ordered = new Set<BlockPlan>();
  for (const key of names) {
    const plan = owner.get(key);
    if (plan !== undefined) ordered.add(plan);
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

/** A file that is searched, and what is known of it. */
interface Search {
  readonly tensors: StateDict;
  readonly keys: KeyIndex;
  readonly rules: readonly FamilyRule[];
  readonly options: DetectOptions;
  readonly networks: NetworkEvidence;
}

function examine({ prefix, rule }: Site, { tensors, keys, rules, options, networks }: Search): BlockPlan {
  const own: BlockKeys = {
    has: (key) => keys.has(prefix + key),
    numbersOf: (key) => keys.numbersOf(prefix, key),
  };
  const anchor = tensors.get(prefix + rule.anchor);
  const keyless = whatIsKeyless(rule, prefix, anchor?.shape, options);
  const expected = expectedBranches(rule, own, keyless.isThere);
  const after = expectedAfter(rule, own);
  const found = expected.filter((branch) => isFound(branch, own));
  const deployKeys = { weight: prefix + rule.deploy.weight, bias: prefix + rule.deploy.bias };
  const network = networks.at(prefix);
  const question = { rule, prefix, option: options.eps, told: options.epsOf, network };
  const batchNorms = [...found.flatMap(({ stages }) => stages), ...after].flatMap((stage) =>
    'batchNorm' in stage ? [stage.batchNorm] : [],
  );
  const shape = fusedShape(rule, expected, tensors, prefix, keyless.groups);
  const deployed = tensors.get(deployKeys.weight);
  const [outChannels, inPerGroup, kh, kw] = shape?.fused ?? (deployed ? kernelShape(deployed) : NO_KERNEL);
  const common = {
    prefix: pathOf(prefix, rule),
    anchorKey: prefix + rule.anchor,
    deployKeys,
    plainKeys: plainKeysOf(prefix, rule, deployKeys),
    outChannels,
    inPerGroup,
    branches: [],
    kernel: [kh, kw] as const,
    weightShape: shape?.weightShape ?? [outChannels, inPerGroup, kh, kw],
    combine: rule.combine ?? ('sum' as const),
    after: [],
    eps: summarizeEps(batchNorms.map((batchNorm) => chooseEps(question, batchNorm))) ?? epsOfBlock(question),
  };
  const telling = found.some(({ stages }) => stages.flatMap(possibleKeys).length > 0);
  if (!telling) return { block: { ...common, ...deployForm(rule, rules, keys, deployKeys, options.unread) } };

  const trainKeys = [
    ...[...expected.flatMap(({ stages }) => stages), ...after].flatMap(possibleKeys).filter(own.has),
    ...leftoversOf(rule, prefix, keys),
  ];
  const uniqueTrainKeys = [...new Set(trainKeys)].map((key) => prefix + key).filter((key) => tensors.has(key));
  const deployComplete = [deployKeys.weight, deployKeys.bias].every(
    (key) => keys.has(key) && !uniqueTrainKeys.includes(key),
  );
  const groups = shape?.groups ?? null;
  const block = {
    ...common,
    family: rule.family,
    shortFamily: rule.family,
    form: deployComplete ? ('mixed' as const) : ('train' as const),
    branchNames: found.map(({ name }) => name),
    trainKeys: uniqueTrainKeys,
  };
  const candidate = { rule, prefix, branches: expected, after, shape, deployComplete };
  const problem =
    findProblem(candidate, tensors, keys, options.unread) ??
    otherPadding(candidate, options) ??
    keyless.problem ??
    doubtOf(rule, prefix, block, network, options) ??
    doubtfulEps(question, batchNorms, uniqueTrainKeys) ??
    (options.keysInOrder ? wrongOrder(candidate, keys) : undefined);
  if (problem !== undefined) return { block: { ...block, groups: null, problem } };
  const [top, left] = [Math.floor(kh / 2), Math.floor(kw / 2)];
  const geometry = {
    kernel: common.kernel,
    stride: [1, 1],
    padding: [top, left, top, left],
    dilation: [1, 1],
    groups: groups ?? 1,
    channels: shape === undefined || groups === null ? undefined : shape.block[1] * groups,
  } as const;
  const allBatchNorms = [...expected.flatMap(({ stages }) => stages), ...after].flatMap((stage) =>
    'batchNorm' in stage ? [stage.batchNorm] : [],
  );
  const eps = new Map(allBatchNorms.map((batchNorm) => [batchNorm, chooseEps(question, batchNorm).value]));
  return {
    block: { ...block, groups: shape?.fusedGroups ?? null },
    parts: { prefix, branches: expected, after, geometry, eps },
  };
}

/** What a block is called: its path, and that of its fused convolution where the rule holds for several at one path. */
function pathOf(prefix: string, { deploy, numbered = false }: Site['rule']): string {
  return (numbered ? prefix + deploy.weight.replace(/(^|\.)weight$/, '') : prefix).replace(/\.$/, '');
}

/** Plain names for the fused tensors: those of a convolution in the place of the block. */
function plainKeysOf(prefix: string, rule: Site['rule'], deployKeys: DetectedBlock['deployKeys']) {
  if (!rule.deployIsEvident) return deployKeys;
  const path = pathOf(prefix, rule);
  const dotted = path === '' ? '' : `${path}.`;
  return { weight: `${dotted}weight`, bias: `${dotted}bias` };
}

/** Keys of the rule's leftovers that are there; a leftover that ends with a dot stands for all keys that begin so. */
function leftoversOf({ leftovers = [] }: FamilyRule, prefix: string, keys: KeyIndex): string[] {
  return leftovers.flatMap((leftover) =>
    keys
      .under(prefix + leftover)
      .map((key) => key.slice(prefix.length))
      .filter((key) => key === leftover || leftover.endsWith('.')),
  );
}

/** What the rule leaves in doubt, unless the user, the network, the path or the shape settles it. */
function doubtOf(
  { family, doubt }: FamilyRule,
  prefix: string,
  { outChannels, inPerGroup, trainKeys }: Pick<DetectedBlock, 'outChannels' | 'inPerGroup' | 'trainKeys'>,
  network: NetworkFacts,
  { families = [] }: DetectOptions,
): BlockProblem | undefined {
  if (doubt === undefined || [...families, ...network.families].includes(family)) return undefined;
  if (doubt.unlessPath !== undefined && patternOf(doubt.unlessPath).test(prefix)) return undefined;
  if (doubt.unlessChannelsDiffer && outChannels !== inPerGroup) return undefined;
  const reason = `${doubt.because} (\`families\` ${family} settles it; \`keepBlocks\` leaves it)`;
  return { kind: 'ambiguous', reason, tensors: trainKeys };
}

/** Branches are summed as convolutions with zeros around the map, which is also what the authors' deploy convolution has. */
function otherPadding({ branches, prefix }: BlockCandidate, { moduleAt }: DetectOptions): BlockProblem | undefined {
  for (const key of branches.flatMap(({ stages }) => stages).flatMap(requiredKeys)) {
    const mode = moduleAt?.(prefix + key.replace(/\.weight$/, ''))?.paddingMode;
    if (mode !== undefined)
      return { kind: 'unsupported', reason: `${prefix}${key} pads by ${mode}, not by zeros`, tensors: [prefix + key] };
  }
  return undefined;
}

/** A block without training tensors. Deploy names are shared between systems: the file cannot tell which one it was. */
function deployForm(
  rule: FamilyRule,
  rules: readonly FamilyRule[],
  keys: KeyIndex,
  { weight, bias }: DetectedBlock['deployKeys'],
  unread: DetectOptions['unread'],
) {
  const alike = rules.filter(({ deploy, deployIsEvident }) => deployIsEvident && deploy.weight === rule.deploy.weight);
  const family = [...new Set(alike.map((other) => other.family))].join(' or ') || rule.family;
  const { family: shortFamily } = alike.find(({ namesDeployForm }) => namesDeployForm) ?? alike[0] ?? rule;
  const block = {
    family,
    shortFamily,
    form: 'deploy' as const,
    branches: [],
    branchNames: [],
    trainKeys: [],
    groups: null,
  };
  const problem = unreadProblem([weight, bias], unread);
  if (problem !== undefined) return { ...block, problem };
  if (keys.has(weight)) return block;
  return {
    ...block,
    problem: { kind: 'partial' as const, reason: `${weight} is missing beside ${bias}`, tensors: [weight] },
  };
}
