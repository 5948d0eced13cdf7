export {
  Engine,
  type EngineMemory,
  type EngineOptions,
  type EngineStep,
  type RunAsyncOptions,
  type RunOptions,
  type StreamOptions,
} from './engine';
export {
  type LayerMeasure,
  type LayerPrecision,
  type MeasurePrecisionOptions,
  measurePrecision,
  type NetworkMeasure,
  type PrecisionReport,
} from './measure-precision';
export { ALGORITHMS, type Algorithm, PRECISION_BOUNDS, PRECISIONS, type Precision } from './native-engine';
export { type ReadModelOptions, readModel } from './read-model';
