import type { RE2JS } from 're2js';
import { quote } from '../arguments/show';
import { RepfuseError } from '../errors';
import { FAMILY_RULES } from './rules';

/** A regular expression, to be looked for anywhere in a text. */
export interface Pattern {
  test(text: string): boolean;
}

const MAX_KNOWN = 1000;
const known = new Map<string, Pattern>();

/** Patterns of our own rules are known to be harmless: they run on JavaScript's own engine. */
const own = new Set(
  FAMILY_RULES.flatMap(({ path, doubt, epsEvidence = [] }) => [
    path,
    doubt?.unlessPath,
    ...epsEvidence.map(({ pattern }) => pattern),
  ]),
);

/**
 * The pattern of a rule. Those of users run in time linear in the text (RE2), as a file's names come from somebody else.
 *
 * @throws ERR_REPFUSE_RULE for what is no regular expression, or one with lookaround or backreferences, which RE2 does not have
 */
export function patternOf(text: string): Pattern {
  const before = known.get(text);
  if (before !== undefined) return before;
  const pattern = own.has(text) ? new RegExp(text) : compile(text);
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(text, pattern);
  return pattern;
}

function compile(text: string): Pattern {
  // Loaded only where a rule of a user's has a pattern: it takes longer than all of repfuse.
  const { RE2JS: engine } = require('re2js') as typeof import('re2js');
  let compiled: RE2JS;
  try {
    compiled = engine.compile(text);
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_RULE',
      `Expected a regular expression that RE2 takes (no lookaround, no backreferences) but received ${quote(text)}`,
      { received: text },
      { cause },
    );
  }
  return { test: (name) => compiled.matcher(name).find() };
}
