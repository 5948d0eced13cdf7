import type { DetectOptions, KeylessAnswers } from './detect-options';
import type { BlockProblem } from './problem';
import type { BranchRule, FamilyRule } from './rule';

/** What is known of a block's keyless branches. */
export interface KeylessBranches {
  isThere(branch: BranchRule): boolean;
  /** As many as the input's addition takes, where it is added; undefined where it is not. */
  readonly groups: number | undefined;
  /** Set where nothing tells. */
  readonly problem: BlockProblem | undefined;
}

/**
 * Decides on branches that have no tensors: from the user's answers, else from a pickled module, else from the shape, which can
 * only exclude them: they need as many input as output channels (and stride 1, which no state dict tells).
 */
export function whatIsKeyless(
  rule: FamilyRule,
  prefix: string,
  kernel: readonly number[] | undefined,
  options: Pick<DetectOptions, 'keyless' | 'moduleAt'>,
): KeylessBranches {
  const branches = rule.branches.filter(({ presence }) => presence === 'keyless');
  const path = prefix.replace(/\.$/, '');
  const [outChannels = 0, inPerGroup = 1] = kernel ?? [];
  const always = rule.branches.some(isInput);
  if (branches.length === 0 || outChannels % inPerGroup !== 0)
    return { isThere: () => false, groups: always ? outChannels / inPerGroup : undefined, problem: undefined };
  const answer = answerFor(path, options.keyless ?? {});
  const isPossible = answer?.exact || outChannels === inPerGroup || inPerGroup === 1;
  const told = answer === undefined ? toldByModules(branches, rule, prefix, options) : isPossible ? answer.names : [];
  const names = told ?? [];
  const adds = always || names.length > 0;
  return {
    isThere: ({ name }) => names.includes(name),
    groups: adds ? outChannels / inPerGroup : undefined,
    problem: told === undefined ? unknown(path, branches, prefix + rule.anchor, outChannels / inPerGroup) : undefined,
  };
}

/** A branch that is the input itself, always there. */
function isInput({ presence, chains }: BranchRule): boolean {
  return presence === 'required' && chains[0]?.length === 0;
}

function unknown(path: string, branches: readonly BranchRule[], anchor: string, groups: number): BlockProblem {
  const names = branches.map(({ name }) => name);
  return {
    kind: 'ambiguous',
    reason: `the block may add ${names.join(' and ')}, for which a state dict has no key, and ${anchor} has as many output as input channels${groups === 1 ? '' : ` if it has ${groups} groups`} (say which it adds: \`keyless\` '${path}=${names.join(',')}' or '${path}=none'; * stands for any text)`,
    tensors: [anchor],
  };
}

interface Answer {
  readonly names: readonly string[];
  /** The prefix was given in full. */
  readonly exact: boolean;
}

function answerFor(path: string, answers: KeylessAnswers): Answer | undefined {
  const exact = Object.hasOwn(answers, path) ? answers[path] : undefined;
  if (exact !== undefined) return { names: exact, exact: true };
  const pattern = Object.keys(answers)
    .filter((glob) => glob.includes('*') && matchesGlob(glob, path))
    .sort((a, b) => b.length - a.length)[0];
  return pattern === undefined ? undefined : { names: answers[pattern]!, exact: false };
}

/** Whether a path is what a text says in which `*` stands for any text, in one pass. */
function matchesGlob(glob: string, path: string): boolean {
  const [start = '', ...parts] = glob.split('*');
  const end = parts.pop();
  if (end === undefined) return path === start;
  if (!path.startsWith(start)) return false;
  let at = start.length;
  for (const part of parts) {
    const found = path.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return path.length - end.length >= at && path.endsWith(end);
}

/** What the pickled modules say: a keyless branch is a submodule, and none of them can be there with a stride. */
function toldByModules(
  branches: readonly BranchRule[],
  rule: FamilyRule,
  prefix: string,
  { moduleAt }: Pick<DetectOptions, 'moduleAt'>,
): string[] | undefined {
  const main = moduleAt?.(prefix + rule.anchor.replace(/\.weight$/, ''));
  if (main === undefined) return undefined;
  if (main.stride?.some((step) => step !== 1)) return [];
  if (branches.some(({ module }) => module === undefined)) return undefined;
  return branches.filter(({ module }) => moduleAt!(prefix + module!) !== undefined).map(({ name }) => name);
}
