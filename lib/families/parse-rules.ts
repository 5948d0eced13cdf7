import type { BaseIssue } from 'valibot';
import { RepfuseError } from '../errors';
import type { FamilyRule } from './rule';

/**
 * Family rules from parsed JSON: one rule, or a list. They are of the same form as repfuse's own (`FAMILY_RULES`).
 *
 * @param name what errors call them: their file
 * @throws ERR_REPFUSE_RULE naming the field at fault
 */
export function parseRules(json: unknown, name = 'rules'): FamilyRule[] {
  // Loaded only where there are rules to check: it takes longer than all of repfuse.
  const { getDotPath, RULE_SCHEMA, safeParse } = require('./rule-schema') as typeof import('./rule-schema');
  const list = Array.isArray(json) ? json : [json];
  return list.map((item, index) => {
    const parsed = safeParse(RULE_SCHEMA, item);
    const where = Array.isArray(json) ? `${name}[${index}]` : name;
    if (!parsed.success) throw wrongField(where, parsed.issues[0], getDotPath);
    const rule = parsed.output as FamilyRule;
    expectAnchor(where, rule);
    return rule;
  });
}

type Issue = BaseIssue<unknown>;

/** The deepest issue: of a union, that of the alternative that the value comes nearest to. */
function wrongField(where: string, issue: Issue, dotPath: (issue: Issue) => string | null): RepfuseError {
  const nested = [...(issue.issues ?? [])].sort((a, b) => (b.path?.length ?? 0) - (a.path?.length ?? 0))[0];
  const path = [issue, nested].flatMap((part) => (part && dotPath(part)) ?? []).join('.');
  const { message } = nested ?? issue;
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
    `${where}, anchor: Expected the weight of a branch (${weights.join(', ') || 'there is none'}) but received ${JSON.stringify(anchor)}`,
    { field: 'anchor' },
  );
}
