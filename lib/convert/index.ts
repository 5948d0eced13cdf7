export type { Shard } from './batch/batch-items';
export { type ConvertAllOptions, convertAll } from './batch/convert-all';
export type { BatchFiles } from './batch/input-files';
export type { BatchProgress } from './batch/progress';
export type { BatchResult } from './batch/result';
export { type ConvertOptions, convert } from './convert';
export type { FindOptions } from './find-blocks';
export { type FoldOnnxOptions, foldOnnx, type OnnxReport } from './fold-onnx';
export { type InspectOptions, inspect } from './inspect';
export type { OutputOptions } from './output-spec';
export type {
  BlockReport,
  BlockStatus,
  ConvertProgress,
  ConvertReport,
  InspectReport,
  OnnxFacts,
  OnnxValue,
  Range,
} from './report';
export type { TensorProblem } from './verify/compare-tensors';
export type {
  NetworkVerification,
  OnnxValueCheck,
  OnnxVerification,
  VerifyOptions,
  VerifyProgress,
  VerifyReport,
} from './verify/report';
export { verify } from './verify/verify';
export type { BlockVerification } from './verify/verify-block';
