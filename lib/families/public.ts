import { checkOptions } from '../arguments/check';
import {
  BOOLEAN,
  FUNCTION,
  membersOf,
  number,
  optional,
  TEXT_MAP,
  TEXTS,
  TEXTS_BY_NAME,
  unchecked,
} from '../arguments/schemas';
import type { StateDict } from '../checkpoint/state-dict';
import { checkTensors } from '../tensor/schemas';
import { type DetectedBlock, detectBlocks as detect } from './detect';
import type { DetectOptions } from './detect-options';
import { checkRules } from './parse-rules';
import type { FamilyRule } from './rule';

const OPTIONS = membersOf<DetectOptions>()({
  unread: optional(TEXT_MAP),
  rules: optional(unchecked<readonly FamilyRule[]>()),
  families: optional(TEXTS),
  keyless: optional(TEXTS_BY_NAME),
  eps: optional(number(0)),
  epsOf: optional(FUNCTION),
  texts: optional(TEXT_MAP),
  keysInOrder: optional(BOOLEAN),
  moduleAt: optional(FUNCTION),
});

/**
 * Finds every block of a known system, at any prefix, in file order. Nothing is computed and no model code is needed: a block
 * is what its keys say. Each comes with its branches (stride 1, taps centred) or with the problem that keeps it from being fused.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_RULE for rules that are malformed
 */
export function detectBlocks(tensors: StateDict, options: DetectOptions = {}): DetectedBlock[] {
  checkTensors('tensors', tensors);
  const { rules, ...rest } = checkOptions('detectBlocks', OPTIONS, options);
  return detect(tensors, { ...rest, ...(rules === undefined ? {} : { rules: checkRules(rules) }) });
}
