export { type DetectedBlock, type DetectOptions, detectBlocks, type ModuleEvidence } from './detect';
export type { EpsChoice } from './eps';
export type { KeylessAnswers } from './keyless';
export { checkRules, parseRules } from './parse-rules';
export type { BlockProblem } from './problem';
export type { BranchRole, BranchRule, ConflictRule, FamilyRule, SqueezeExciteRule, StageRule } from './rule';
export { FAMILY_RULES } from './rules';
