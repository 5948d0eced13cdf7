export { type DetectedBlock, type DetectOptions, detectBlocks, type EpsChoice } from './detect';
export type { BlockProblem } from './problem';
export type { BranchRole, BranchRule, ConflictRule, FamilyRule, SqueezeExciteRule, StageRule } from './rule';
export { FAMILY_RULES } from './rules';
