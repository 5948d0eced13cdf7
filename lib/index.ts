export * as algebra from './algebra';
export * from './blocks';
export type { ReadProgress } from './checkpoint/files/random-access';
export type { Source } from './checkpoint/files/source';
export { writeNpz } from './checkpoint/npz/write-npz';
export { type ReadCheckpointOptions, readCheckpoint } from './checkpoint/read-checkpoint';
export { type WriteSafetensorsOptions, writeSafetensors } from './checkpoint/safetensors/write-safetensors';
export type { Checkpoint, CheckpointFormat, SkippedEntry, StateDict } from './checkpoint/state-dict';
export { writeTorch } from './checkpoint/torch/write-torch';
export type { OutputFormat, WriteOptions } from './checkpoint/write-checkpoint';
export * from './convert';
export * from './engine';
export { ERROR_CODES, type ErrorCode, RepfuseError } from './errors';
export {
  type DetectedBlock,
  detectBlocks,
  FAMILY_RULES,
  type FamilyRule,
  type KeylessAnswers,
  parseRules,
} from './families';
export {
  batchNormEps,
  deployGraph,
  type ExportOnnxOptions,
  evaluate,
  evaluateAsync,
  exportOnnx,
  type Graph,
  type GraphNode,
  graphMetadata,
  inferShapes,
  normalizeInput,
  parseGraph,
  readGraphMetadata,
} from './graph';
export { type Info, info } from './native/info';
export * from './nets';
export * as ops from './ops';
export type { DType, TensorData } from './tensor/dtype';
export { Tensor } from './tensor/tensor';
