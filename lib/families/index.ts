export { type DetectedBlock, type DetectOptions, detectBlocks, type ModuleEvidence } from './detect';
export type { EpsChoice, KnownEps } from './eps';
export type { KeylessAnswers } from './keyless';
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
