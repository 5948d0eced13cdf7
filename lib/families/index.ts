export { type BlockProblem, type DetectedBlock, type DetectOptions, detectBlocks, type EpsChoice } from './detect';
export type { BranchRule, FamilyRule, StageRule } from './rule';
export { FAMILY_RULES } from './rules';
