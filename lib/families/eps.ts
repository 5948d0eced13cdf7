import type { EpsChoice } from './eps-choice';
import type { NetworkFacts } from './network-evidence';
import { patternOf } from './patterns';
import type { BlockProblem } from './problem';
import type { FamilyRule } from './rule';

/** What tells eps of one BatchNorm, by its key prefix: a graph or a pickled module. */
export type KnownEps = (batchNorm: string) => EpsChoice | undefined;

/** What decides the eps of one block. */
export interface EpsQuestion {
  readonly rule: FamilyRule;
  /** What the block's keys begin with, its dot included. */
  readonly prefix: string;
  /** Overrides everything. */
  readonly option: number | undefined;
  readonly told: KnownEps | undefined;
  readonly network: NetworkFacts;
}

/** eps of a BatchNorm of the block: the option, what a graph or module tells, the rule's own paths, the network, the family. */
export function chooseEps(question: EpsQuestion, batchNorm: string): EpsChoice {
  const { prefix, option, told } = question;
  return (option === undefined ? told?.(prefix + batchNorm) : undefined) ?? epsOfBlock(question);
}

/** eps of the block where nothing tells of its single BatchNorms. */
export function epsOfBlock({ rule, prefix, option, network }: EpsQuestion): EpsChoice {
  if (option !== undefined) return { value: option, source: 'option' };
  return ownEvidence(rule, prefix) ?? network.eps ?? { value: rule.eps, source: `default of ${rule.family}` };
}

function ownEvidence({ epsEvidence = [] }: FamilyRule, prefix: string): EpsChoice | undefined {
  const evidence = epsEvidence.find(({ pattern }) => patternOf(pattern).test(prefix));
  return evidence && { value: evidence.eps, source: evidence.because };
}

/** One choice for the report of a block. */
export function summarizeEps([first, ...others]: readonly EpsChoice[]): EpsChoice | undefined {
  if (first === undefined || others.every(({ value }) => value === first.value)) return first;
  return { value: first.value, source: `${first.source}, differing by BatchNorm` };
}

/** A block whose eps the file tells in two ways, and nothing settles. */
export function doubtfulEps(
  { rule, prefix, option, told, network }: EpsQuestion,
  batchNorms: readonly string[],
  tensors: readonly string[],
): BlockProblem | undefined {
  const { disagreement } = network;
  if (disagreement === undefined || option !== undefined || ownEvidence(rule, prefix) !== undefined) return undefined;
  if (batchNorms.every((batchNorm) => told?.(prefix + batchNorm) !== undefined)) return undefined;
  const choices = disagreement.map(({ value, source }) => `${value.toExponential()} (${source})`);
  return {
    kind: 'ambiguous',
    reason: `the file tells of more than one BatchNorm eps: ${choices.join(' or ')} (\`eps\` settles it)`,
    tensors,
  };
}
