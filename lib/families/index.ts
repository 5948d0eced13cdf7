export { type DetectedBlock, detectBlocks, detectKnownBlocks } from './detect';
export type { DetectOptions, KeylessAnswers, ModuleEvidence } from './detect-options';
export type { KnownEps } from './eps';
export type { EpsChoice } from './eps-choice';
export { checkRules, parseRules } from './parse-rules';
export type { BlockProblem } from './problem';
export type {
  AveragePoolRule,
  BatchNormRule,
  BiasRule,
  BranchRole,
  BranchRule,
  ConflictRule,
  ConvRule,
  DoubtRule,
  FamilyRule,
  PadBorderRule,
  ScaleRule,
  SqueezeExciteRule,
  StageRule,
} from './rule';
export { FAMILY_RULES } from './rules';
