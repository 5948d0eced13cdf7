export * as algebra from './algebra';
export * from './blocks';
export type { ReadProgress } from './checkpoint/files/random-access';
export type { Source } from './checkpoint/files/source';
export { writeNpz } from './checkpoint/npz/write-npz';
export { type ReadCheckpointOptions, readCheckpoint } from './checkpoint/read-checkpoint';
export { type WriteSafetensorsOptions, writeSafetensors } from './checkpoint/safetensors/write-safetensors';
export type { Checkpoint, CheckpointFormat, SkippedEntry, StateDict } from './checkpoint/state-dict';
export { writeTorch } from './checkpoint/torch/write-torch';
export type { OutputFormat } from './checkpoint/write-checkpoint';
export type { WriteOptions } from './checkpoint/write-options';
export * from './convert';
export * from './engine';
export { ERROR_CODES, type ErrorCode, RepfuseError } from './errors';
export {
  type DetectedBlock,
  FAMILY_RULES,
  type FamilyRule,
  type KeylessAnswers,
  parseRules,
} from './families';
export { detectBlocks } from './families/public';
export {
  type ExportOnnxOptions,
  evaluate,
  evaluateAsync,
  exportOnnx,
  type Graph,
  type GraphNode,
  graphMetadata,
  normalizeInput,
  parseGraph,
  readGraphMetadata,
} from './graph';
export { batchNormEps, deployGraph, inferShapes } from './graph/public';
export { type Info, info } from './native/info';
export * from './nets';
export * as ops from './ops';
export type { DType, TensorData } from './tensor/dtype';
export { Tensor } from './tensor/tensor';
