import * as v from 'valibot';
import { patternOf } from './patterns';

const KEY = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(1000),
  v.check(isKey, 'Expected a key whose placeholders differ and have something other than digits between them'),
);
const KEYS = v.pipe(v.array(KEY), v.maxLength(100));
const TEXT = v.pipe(v.string(), v.maxLength(10_000));
const EPS = v.pipe(v.number(), v.finite(), v.minValue(0));
const PATTERN = v.pipe(
  v.string(),
  v.maxLength(1000),
  v.check(isPattern, 'Expected a regular expression that RE2 takes (no lookaround, no backreferences)'),
);
const SIZE = v.union([v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(10_000)), KEY]);
const FLAG = v.optional(v.boolean());

const STAGE = v.union([
  v.strictObject({
    conv: v.union([KEY, v.strictObject({ weight: KEY, bias: v.optional(KEY) })]),
    geometry: v.picklist(['aligned', 'pointwise', 'valid']),
    plusIdentity: FLAG,
    depthwise: FLAG,
    expanding: FLAG,
    taps: FLAG,
    linear: FLAG,
    kernel: v.optional(v.strictTuple([SIZE, SIZE])),
    dilation: v.optional(SIZE),
  }),
  v.strictObject({ batchNorm: KEY, optional: FLAG }),
  v.strictObject({
    scale: KEY,
    row: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
    negative: FLAG,
    optional: FLAG,
    zeroIsOne: FLAG,
  }),
  v.strictObject({ bias: KEY }),
  v.strictObject({ padBorder: v.literal(true) }),
  v.strictObject({ avgPool: v.picklist(['aligned', 'valid']) }),
]);
const STAGES = v.pipe(v.array(STAGE), v.maxLength(32));

const BRANCH = v.strictObject({
  name: KEY,
  role: v.picklist(['main', 'pointwise', 'vertical', 'horizontal', 'identity', 'average', 'sequential']),
  presence: v.picklist(['required', 'optional', 'repeated', 'each', 'keyless']),
  requiredBeside: v.optional(KEY),
  module: v.optional(KEY),
  chains: v.pipe(v.array(STAGES), v.minLength(1), v.maxLength(8)),
});

/** What a FamilyRule is, for data from outside. */
export const RULE_SCHEMA = v.strictObject({
  family: v.pipe(
    v.string(),
    v.regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'Expected lower-case letters, digits, dots and hyphens'),
  ),
  source: TEXT,
  anchor: KEY,
  distinguishedBy: v.optional(KEYS),
  without: v.optional(KEYS),
  path: v.optional(PATTERN),
  onlyBeside: v.optional(KEY),
  onlyInNetwork: FLAG,
  onRequest: FLAG,
  onlyIfComplete: FLAG,
  inOrder: FLAG,
  provingBranches: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  doubt: v.optional(v.strictObject({ because: TEXT, unlessPath: v.optional(PATTERN), unlessChannelsDiffer: FLAG })),
  branches: v.pipe(v.array(BRANCH), v.minLength(1), v.maxLength(64)),
  combine: v.optional(v.picklist(['sum', 'concat', 'split'])),
  ungrouped: v.optional(TEXT),
  after: v.optional(STAGES),
  deploy: v.strictObject({ weight: KEY, bias: KEY }),
  deployIsEvident: v.boolean(),
  namesDeployForm: FLAG,
  eps: EPS,
  epsEvidence: v.optional(v.array(v.strictObject({ pattern: PATTERN, eps: EPS, because: TEXT }))),
  ownNames: v.optional(KEYS),
  leftovers: v.optional(KEYS),
  conflicts: v.optional(
    v.array(v.strictObject({ key: KEY, kind: v.picklist(['ambiguous', 'unsupported']), because: TEXT })),
  ),
  squeezeExcite: v.optional(
    v.array(
      v.strictObject({
        reduce: KEY,
        expand: KEY,
        position: v.picklist(['before-activation', 'after-activation']),
        reduction: v.number(),
        roundTo: v.optional(v.number()),
      }),
    ),
  ),
});

/** Keys become regular expressions: numbers side by side could be told apart in very many ways. */
function isKey(text: string): boolean {
  const names = text.match(/\{[a-z]\}/g) ?? [];
  return new Set(names).size === names.length && !/\{[a-z]\}(?:\d|\{[a-z]\})/.test(text);
}

function isPattern(text: string): boolean {
  try {
    patternOf(text);
    return true;
  } catch {
    return false;
  }
}

export { getDotPath, safeParse } from 'valibot';
