import { eitherOf, number, oneOf, optional, TEXTS, TEXTS_BY_NAME, unchecked } from '../arguments/schemas';
import { quote } from '../arguments/show';
import { suggestion } from '../arguments/suggest';
import type { Checkpoint } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import {
  checkRules,
  type DetectedBlock,
  detectKnownBlocks,
  type EpsChoice,
  FAMILY_RULES,
  type FamilyRule,
  type KeylessAnswers,
} from '../families';
import { batchNormEps, type Graph } from '../graph';

/** What steers the search for blocks. */
export interface FindOptions {
  /**
   * BatchNorm eps of every block. Default 'auto': the graph's where there is one, or that of a pickled module, else the network's,
   * where names or texts anywhere in the file show which it is, else the family's.
   */
  readonly eps?: number | 'auto' | undefined;
  /** Family rules. Default: all that repfuse knows. */
  readonly rules?: readonly FamilyRule[] | undefined;
  /**
   * Families that the file is known to hold: settles what is `ambiguous`, and looks for those that are only looked for on request
   * (`conv-bn`).
   */
  readonly families?: readonly string[] | undefined;
  /** Which branches without tensors blocks have, by prefix (`*` for any text): `{ '*': ['input'], 'stage1.0': [] }`. */
  readonly keyless?: KeylessAnswers | undefined;
}

/** Schemas of `FindOptions`; rules, and what names mean, are looked at by `checkFindOptions`. */
export const FIND_OPTIONS = {
  eps: optional(eitherOf("a finite number of at least 0, or 'auto',", number(0), oneOf(['auto']))),
  families: optional(TEXTS),
  keyless: optional(TEXTS_BY_NAME),
  rules: unchecked<readonly FamilyRule[] | undefined>(),
} as const;

/** The blocks of a checkpoint. */
export function findBlocks(
  { tensors, unread, modules, format, texts, metadata }: Omit<Checkpoint, 'file'>,
  graph: Graph | undefined,
  { eps, rules, families, keyless }: FindOptions,
): DetectedBlock[] {
  const ofGraph = graph && batchNormEps(graph);
  const ofModule = (batchNorm: string): EpsChoice | undefined => {
    const value = modules.get(batchNorm)?.eps;
    return value === undefined ? undefined : { value, source: 'attribute of the pickled module' };
  };
  return detectKnownBlocks(tensors, {
    unread,
    eps: eps === 'auto' ? undefined : eps,
    // Without them the layout alone decides, and what is known of it holds.
    epsOf:
      ofGraph === undefined && modules.size === 0
        ? undefined
        : (batchNorm) => ofGraph?.(batchNorm) ?? ofModule(batchNorm),
    // What repfuse wrote itself names networks too.
    texts: new Map([...texts, ...Object.entries(metadata).filter(([name]) => !name.startsWith('repfuse'))]),
    keysInOrder: format === 'torch-zip' || format === 'torch-legacy' || format === 'pickle',
    moduleAt: modules.size === 0 ? undefined : (path) => modules.get(path),
    families,
    keyless,
    ...(rules === undefined ? {} : { rules }),
  });
}

/** Options whose rules and names exist. @throws ERR_REPFUSE_INVALID_ARGUMENT, ERR_REPFUSE_RULE */
export function checkFindOptions<Options extends FindOptions>(options: Options): Options {
  const { families = [], keyless = {} } = options;
  const rules = options.rules === undefined ? FAMILY_RULES : checkRules(options.rules);
  const known = [...new Set(rules.map(({ family }) => family))];
  const unknown = families.find((family) => !known.includes(family));
  if (unknown !== undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a family for families but received ${quote(unknown)}${suggestion(unknown, known)}`,
      { family: unknown, option: 'families' },
    );
  }
  const branches = rules.flatMap((rule) => rule.branches.filter(({ presence }) => presence === 'keyless'));
  const names = [...new Set(branches.map(({ name }) => name))];
  for (const [prefix, answers] of Object.entries(keyless)) {
    const wrong = answers.find((name) => !names.includes(name));
    if (wrong === undefined) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected ${names.join(' or ')} for keyless of ${quote(prefix)} but received ${quote(wrong)}`,
      { block: prefix, branch: wrong, option: 'keyless' },
    );
  }
  return options.rules === undefined ? options : { ...options, rules };
}
