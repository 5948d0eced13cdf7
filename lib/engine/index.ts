export {
  Engine,
  type EngineMemory,
  type EngineOptions,
  type EngineStep,
  type Model,
  type RunAsyncOptions,
  type RunOptions,
  type StreamOptions,
} from './engine';
export { type ReadModelOptions, readModel } from './read-model';
