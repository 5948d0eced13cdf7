import type { KeyIndex } from './key-index';
import { patternOf } from './patterns';
import { fillPlaceholders, placeholderPattern } from './placeholders';
import type { FamilyRule } from './rule';
import { requiredKeys } from './stages';

/** A place where a block may be. */
export interface Site {
  /** What the block's keys begin with, its dot included. */
  readonly prefix: string;
  /** The rule, with its number filled in where it holds once for each. */
  readonly rule: FamilyRule & { readonly numbered?: boolean };
}

/**
 * Where a convolution of the rule's branches stands (`train`), or its deploy form (`deploy`): a block that lost its main
 * convolution is still a (partial) block.
 *
 * @param claimed keys that other blocks have
 */
export function findSites(
  keys: KeyIndex,
  rule: FamilyRule,
  form: 'train' | 'deploy',
  claimed: ReadonlySet<string>,
): Site[] {
  const suffixes = suffixesOf(rule, form);
  if (suffixes.length === 0) return [];
  const pattern = new RegExp(`^((?:.*\\.)?)(?:${suffixes.map(suffixPattern).join('|')})$`, 's');
  const path = rule.path === undefined ? undefined : patternOf(rule.path);
  const sites = new Map<string, Site>();
  for (const key of new Set(suffixes.flatMap((suffix) => keys.endingLike(suffix)))) {
    if (claimed.has(key)) continue;
    const match = pattern.exec(key);
    if (match === null) continue;
    const prefix = match[1]!;
    const number = match.groups?.n;
    const site = prefix + (number ?? '');
    if (sites.has(site) || path?.test(prefix) === false) continue;
    const own = number === undefined ? rule : { ...fillPlaceholders(rule, { n: Number(number) }), numbered: true };
    if (isDistinguished(own, (name) => keys.has(prefix + name))) sites.set(site, { prefix, rule: own });
  }
  return [...sites.values()];
}

function suffixesOf(rule: FamilyRule, form: 'train' | 'deploy'): string[] {
  if (form === 'deploy') return rule.deployIsEvident ? [rule.deploy.weight, rule.deploy.bias] : [];
  if (rule.onlyIfComplete || !rule.deployIsEvident) return [rule.anchor];
  const convolutions = rule.branches.flatMap(({ chains }) => chains.flat().filter((stage) => 'conv' in stage));
  return [...new Set(convolutions.flatMap(requiredKeys))];
}

function isDistinguished({ distinguishedBy, without = [] }: FamilyRule, has: (key: string) => boolean): boolean {
  return (distinguishedBy === undefined || distinguishedBy.some(has)) && !without.some(has);
}

/** Only `{n}` is of interest; other numbers may be any. */
function suffixPattern(suffix: string): string {
  return placeholderPattern(suffix).replace(/\(\?<(?!n>)[a-z]>/g, '(?:');
}
