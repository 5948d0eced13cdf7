export { Engine, type EngineMemory } from './engine';
export type { EngineStep } from './explain';
export {
  type LayerMeasure,
  type LayerPrecision,
  type MeasurePrecisionOptions,
  measurePrecision,
  type NetworkMeasure,
  type PrecisionReport,
} from './measure-precision';
export { ALGORITHMS, type Algorithm, PRECISION_BOUNDS, PRECISIONS, type Precision } from './native-engine';
export type { EngineOptions, RunAsyncOptions, RunOptions, StreamOptions } from './options';
export { type ReadModelOptions, readModel } from './read-model';
export type { EngineValue } from './values';
