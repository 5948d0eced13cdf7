/// <reference lib="esnext.disposable" preserve="true" />
// The public names. What works on graphs or on the algebra itself has doors of its own: `repfuse/graph` and `repfuse/algebra`.
import './platform-types';
import * as algebra from './algebra';
import * as ops from './ops';

export {
  ACNet,
  ACNetBlock,
  type ACNetBlockOptions,
  type ArticleBlock,
  type ArticleBlockOptions,
  type BlockOptions,
  DiverseBranchBlock,
  type DiverseBranchBlockOptions,
  type Eps,
  type LoadStateDictOptions,
  MobileOneBlock,
  type MobileOneBlockOptions,
  ReparameterizableBlock,
  RepBlock,
  RepVGGBlock,
  type RepVGGBlockOptions,
  type StateDictOptions,
} from './blocks';
export type { NewFileOptions } from './checkpoint/files/new-file';
export type { ReadProgress } from './checkpoint/files/random-access';
export type { Source } from './checkpoint/files/source';
export { writeNpz } from './checkpoint/npz/write-npz';
export { type ReadCheckpointOptions, readCheckpoint } from './checkpoint/read-checkpoint';
export { type WriteSafetensorsOptions, writeSafetensors } from './checkpoint/safetensors/write-safetensors';
export type { Checkpoint, CheckpointFormat, SkippedEntry, StateDict } from './checkpoint/state-dict';
export type { TensorSource } from './checkpoint/tensor-source';
export type { ModuleAttributes } from './checkpoint/torch/module-weights';
export { writeTorch } from './checkpoint/torch/write-torch';
export type { OutputFormat } from './checkpoint/write-checkpoint';
export type { WriteOptions } from './checkpoint/write-options';
export {
  type BatchFiles,
  type BatchProgress,
  type BatchResult,
  type BlockReport,
  type BlockStatus,
  type BlockVerification,
  type ConvertAllOptions,
  type ConvertOptions,
  type ConvertProgress,
  type ConvertReport,
  convert,
  convertAll,
  type FindOptions,
  type FoldOnnxOptions,
  foldOnnx,
  type InspectOptions,
  type InspectReport,
  inspect,
  type NetworkVerification,
  type OnnxFacts,
  type OnnxReport,
  type OnnxValue,
  type OnnxValueCheck,
  type OnnxVerification,
  type OutputOptions,
  type Range,
  type Shard,
  type TensorProblem,
  type VerifyOptions,
  type VerifyProgress,
  type VerifyReport,
  verify,
} from './convert';
export {
  ALGORITHMS,
  type Algorithm,
  Engine,
  type EngineMemory,
  type EngineOptions,
  type EngineStep,
  type EngineValue,
  type LayerMeasure,
  type LayerPrecision,
  type MeasurePrecisionOptions,
  measurePrecision,
  type NetworkMeasure,
  PRECISION_BOUNDS,
  PRECISIONS,
  type Precision,
  type PrecisionReport,
  type ReadModelOptions,
  type RunAsyncOptions,
  type RunOptions,
  readModel,
  type StreamOptions,
} from './engine';
export { ERROR_CODES, type ErrorCode, RepfuseError } from './errors';
export {
  type AveragePoolRule,
  type BatchNormRule,
  type BiasRule,
  type BlockProblem,
  type BranchRole,
  type BranchRule,
  type ConflictRule,
  type ConvRule,
  type DetectedBlock,
  type DetectOptions,
  type DoubtRule,
  type EpsChoice,
  FAMILY_RULES,
  type FamilyRule,
  type KeylessAnswers,
  type KnownEps,
  type ModuleEvidence,
  type PadBorderRule,
  parseRules,
  type ScaleRule,
  type SqueezeExciteRule,
  type StageRule,
} from './families';
export { detectBlocks } from './families/public';
export {
  type ExportOnnxOptions,
  evaluate,
  evaluateAsync,
  exportOnnx,
  type ForInputs,
  type Graph,
  type GraphInput,
  type GraphNode,
  type InputShapes,
  type InputTensors,
  type Model,
  normalizeInput,
  parseGraph,
} from './graph';
export type { Isa, NativeInfo } from './native/addon';
export { type Info, info } from './native/info';
export {
  NET_NAMES,
  type Net,
  type NetFigures,
  type NetForm,
  type NetName,
  type NetNaming,
  type NetOptions,
  netFigures,
  netFromSeed,
  netGraph,
  type SeedOptions,
} from './nets';
export type { GraphOptions } from './nets/graph-for';
export type { FoldedRegion, FoldOptions, FoldReport } from './onnx';
export type { CarriedDType, ComputedDType, DType, TensorData } from './tensor/dtype';
export { type Float16Elements, type Float32Tensor, Tensor } from './tensor/tensor';
export { algebra, ops };
