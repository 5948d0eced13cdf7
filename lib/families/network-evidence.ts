import { configuredEps } from './config-eps';
import type { EpsChoice } from './eps-choice';
import { NETWORKS, type NetworkRule } from './network-rule';

/** What a file tells of the network that a block is part of. */
export interface NetworkFacts {
  /** undefined where nothing shows the network. */
  readonly eps: EpsChoice | undefined;
  /** Where there are several, and they differ: one of each value. */
  readonly disagreement: readonly EpsChoice[] | undefined;
  /** Families of the network's blocks. */
  readonly families: readonly string[];
}

/** A network found in a file. */
interface Finding {
  readonly rule: NetworkRule;
  /** What stands before all of the network's keys, with its dot; '' where that is nothing. */
  readonly root: string;
  /** What stands right behind the root: parts of a network (`backbone`), numbered layers, or anything. */
  readonly holds: 'parts' | 'layers' | 'anything';
  /** The key, or the name of the text. */
  readonly shownBy: string;
}

/** What the texts beside a file's weights tell: the networks that they name, by their places in `NETWORKS`, and eps of their configurations. */
export interface TextEvidence {
  readonly networks: readonly { readonly index: number /** The name of the text. */; readonly shownBy: string }[];
  readonly configured: readonly EpsChoice[];
}

/** Names of parts that a network has side by side. */
const PART = /^(?:.*_)?(?:backbone|neck|heads?|detect|encoder|decoder)$/;
/** Names of a network in something that holds it. */
const WRAPPER =
  /^(?:models?|module|ema|_orig_mod|nets?|networks?|student|teacher|detector|yolo.*|.+_model|model_.+|\d+)$/;

/**
 * The networks that a file's keys, and the texts beside its weights, show. Evidence anywhere in a network holds for all of it: the
 * keys with what stands before the evidence (`teacher.` of `teacher.backbone.ERBlock_2...`), of which those further in come first.
 */
export class NetworkEvidence {
  private readonly found: readonly Finding[];
  private readonly configured: readonly EpsChoice[];
  private readonly known = new Map<string, NetworkFacts>();

  constructor(keys: Iterable<string>, { networks, configured }: TextEvidence) {
    const byTexts = networks.map(({ index, shownBy }): Finding => {
      return { rule: NETWORKS[index]!, root: '', holds: 'anything', shownBy };
    });
    this.found = [...findByKeys(keys), ...byTexts];
    this.configured = configured;
  }

  /** What holds of a block. @param prefix of its keys, with its dot */
  at(prefix: string): NetworkFacts {
    const known = this.known.get(prefix) ?? this.lookUp(prefix);
    this.known.set(prefix, known);
    return known;
  }

  private lookUp(prefix: string): NetworkFacts {
    const around = this.found.filter((finding) => isPartOf(prefix, finding));
    const strong = innermost(around.filter(({ rule }) => rule.weak !== true));
    const weak = innermost(around.filter(({ rule }) => rule.weak === true));
    const telling = [...strong.map((finding) => evidenceOf(finding, prefix)), ...this.configured];
    const evidence = telling.length > 0 ? telling : weak.map((finding) => evidenceOf(finding, prefix));
    const values = [...new Set(evidence.map(({ value }) => value))];
    const firstOf = (value: number) => evidence.find((item) => item.value === value)!;
    return {
      eps: evidence[0],
      disagreement: values.length > 1 ? values.map(firstOf) : undefined,
      families: [...strong, ...weak].flatMap(({ rule }) => rule.families ?? []),
    };
  }
}

function evidenceOf({ rule, shownBy }: Finding, prefix: string): EpsChoice {
  const { network, apart } = rule;
  const { eps, because } = apart !== undefined && signPattern(apart.signs).test(prefix) ? apart : rule;
  return { value: eps, source: `${network}, shown by ${shownBy}: ${because}` };
}

function isPartOf(prefix: string, { root, holds }: Finding): boolean {
  if (!prefix.startsWith(root)) return false;
  const [first = ''] = prefix.slice(root.length).split('.');
  return holds === 'anything' || (holds === 'parts' ? PART : /^\d+$/).test(first);
}

/** The findings with the longest root, without those that others of them stand for. */
function innermost(findings: readonly Finding[]): Finding[] {
  const longest = Math.max(...findings.map(({ root }) => root.length));
  const inner = findings.filter(({ root }) => root.length === longest);
  const replaced = inner.flatMap(({ rule }) => rule.insteadOf ?? []);
  return inner.filter(({ rule }) => !replaced.includes(rule.network));
}

/** One finding for each network and root. */
function findByKeys(keys: Iterable<string>): Finding[] {
  const candidates = new Map<string, readonly Signs[]>();
  const found = new Map<string, Finding>();
  for (const key of keys) {
    const shape = shapeOf(key);
    const known =
      candidates.get(shape) ?? (ANY_SHAPE.test(shape) ? SIGNS.filter((signs) => signs.shape.test(shape)) : []);
    candidates.set(shape, known);
    for (const { rule, exact } of known) {
      const match = exact.exec(key);
      if (match === null || (rule.onlyAtTop && !isAtTop(key.slice(0, match.index)))) continue;
      const finding = { rule, ...placeOf(key, match), shownBy: key };
      const id = `${NETWORKS.indexOf(rule)} ${finding.root}`;
      if (!found.has(id)) found.set(id, finding);
    }
  }
  return [...found.values()].sort((a, b) => NETWORKS.indexOf(a.rule) - NETWORKS.indexOf(b.rule));
}

/** A network's signs: as they are, and in keys whose numbers were made equal. A file has few of those, which spares most tests. */
interface Signs {
  readonly rule: NetworkRule;
  readonly exact: RegExp;
  readonly shape: RegExp;
}

const SIGNS: readonly Signs[] = NETWORKS.map((rule) => ({
  rule,
  exact: signPattern(rule.signs),
  shape: signPattern(rule.signs.map(shapeOf), '#'),
}));
const ANY_SHAPE = signPattern(
  NETWORKS.flatMap((rule) => rule.signs.map(shapeOf)),
  '#',
);

function shapeOf(key: string): string {
  return key.replace(/\d+/g, '#');
}

export function textEvidence(texts: ReadonlyMap<string, string>): TextEvidence {
  const networks = NETWORKS.flatMap(({ words }, index) => {
    const shown = [...texts].find(([name, text]) => words?.some((word) => name.includes(word) || text.includes(word)));
    return shown === undefined ? [] : [{ index, shownBy: shown[0] }];
  });
  return { networks, configured: configuredEps(texts) };
}

function isAtTop(before: string): boolean {
  return before
    .split('.')
    .filter((name) => name !== '')
    .every((name) => WRAPPER.test(name) || PART.test(name));
}

/** Where a network is of which a sign was found: behind what stands before its first part, or before the sign. */
function placeOf(key: string, { index, 0: sign }: RegExpExecArray): Pick<Finding, 'root' | 'holds'> {
  const names = key.slice(0, index + sign.length).split('.');
  const part = names.findIndex((name) => PART.test(name));
  // The match begins with the dot before the sign. A sign may begin with what wraps all layers.
  let depth =
    part >= 0
      ? part
      : key
          .slice(0, index)
          .split('.')
          .filter((name) => name !== '').length;
  while (names[depth] === 'model') depth++;
  const holds = part >= 0 ? 'parts' : /^\d+$/.test(names[depth]!) ? 'layers' : 'anything';
  return {
    root: names
      .slice(0, depth)
      .map((name) => `${name}.`)
      .join(''),
    holds,
  };
}

/** Whole names of a key, wherever they stand. @param digits what `#` stands for */
function signPattern(signs: readonly string[], digits = '\\d+'): RegExp {
  const texts = signs.map((sign) =>
    sign.replace(/[.*#]/g, (mark) => ({ '.': '\\.', '*': '[^.]*', '#': digits })[mark]!),
  );
  return new RegExp(`(?:^|\\.)(?:${texts.join('|')})(?=\\.|$)`);
}
