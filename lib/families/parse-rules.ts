import type { BaseIssue } from 'valibot';
import { checkArgument } from '../arguments/check';
import { listOf, TEXT, unchecked } from '../arguments/schemas';
import { quote, show } from '../arguments/show';
import { RepfuseError } from '../errors';
import type { FamilyRule } from './rule';
import { FAMILY_RULES } from './rules';

/**
 * Family rules from parsed JSON: one rule, or a list. They are of the same form as repfuse's own (`FAMILY_RULES`).
 *
 * @param name what errors call them: their file
 * @throws ERR_REPFUSE_RULE naming the field at fault
 */
export function parseRules(json: unknown, name = 'rules'): FamilyRule[] {
  checkArgument('name', TEXT, name);
  const list = readable(name, () => (Array.isArray(json) ? [...json] : [json]));
  return list.map((item, index) => parseRule(item, Array.isArray(json) ? `${name}[${index}]` : name));
}

function parseRule(json: unknown, where: string): FamilyRule {
  // Loaded only where there are rules to check.
  const { getDotPath, RULE_SCHEMA, safeParse } = require('./rule-schema') as typeof import('./rule-schema');
  const parsed = readable(where, () => safeParse(RULE_SCHEMA, json));
  if (!parsed.success) throw wrongField(where, parsed.issues[0], getDotPath);
  const rule = parsed.output as FamilyRule;
  expectAnchor(where, rule);
  return rule;
}

/** Rules as an option: repfuse's own are right, others are parsed. @throws ERR_REPFUSE_RULE, ERR_REPFUSE_INVALID_ARGUMENT */
export function checkRules(rules: unknown): readonly FamilyRule[] {
  const list = checkArgument('rules', listOf(unchecked<FamilyRule>()), rules);
  return list.map((rule, index) => (FAMILY_RULES.includes(rule) ? rule : parseRule(rule, `rules[${index}]`)));
}

function readable<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    // A getter of the caller's, or a Proxy.
    throw new RepfuseError(
      'ERR_REPFUSE_RULE',
      `${where}: Expected a rule that can be read but reading it failed`,
      {},
      { cause },
    );
  }
}

type Issue = BaseIssue<unknown>;

/** The deepest issue: of a union, that of the alternative that the value comes nearest to. */
function wrongField(where: string, issue: Issue, dotPath: (issue: Issue) => string | null): RepfuseError {
  const nested = [...(issue.issues ?? [])].sort((a, b) => (b.path?.length ?? 0) - (a.path?.length ?? 0))[0];
  const path = [issue, nested].flatMap((part) => (part && dotPath(part)) ?? []).join('.');
  const { message: text, input } = nested ?? issue;
  // What was received in our own words: never a long text in full.
  const message = `${text.replace(/ but received .*/s, '')} but received ${show(input)}`;
  return new RepfuseError('ERR_REPFUSE_RULE', `${where}${path === '' ? '' : `, ${path}`}: ${message}`, { field: path });
}

/** The anchor has to be the weight of a branch: it decides the block's shape. */
function expectAnchor(where: string, { anchor, branches }: FamilyRule): void {
  const weights = branches.flatMap(({ chains }) =>
    chains
      .flat()
      .flatMap((stage) =>
        'conv' in stage ? (typeof stage.conv === 'string' ? `${stage.conv}.weight` : stage.conv.weight) : [],
      ),
  );
  if (weights.some((weight) => weight.replace('{i}', '0') === anchor)) return;
  throw new RepfuseError(
    'ERR_REPFUSE_RULE',
    `${where}, anchor: Expected the weight of a branch (${weights.join(', ') || 'there is none'}) but received ${quote(anchor)}`,
    { field: 'anchor' },
  );
}
