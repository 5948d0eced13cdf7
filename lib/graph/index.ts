export { deployGraph, type FusedBlock } from './deploy';
export {
  asOutput,
  bindInputs,
  bindShapes,
  expectShapes,
  type ForInputs,
  type InputShapes,
  type InputTensors,
} from './edges';
export { evaluate, evaluateAsync, evaluateNodes, evaluateValues, normalizeInput, runNodes } from './evaluate';
export type { ReadModel } from './from-onnx/reader';
export { batchNormEps, type Graph, type GraphInput, type GraphNode, inputsOf, nodeKeys, outputsOf } from './graph';
export { expectRoomForEach } from './memory';
export { checkModel, type Model } from './model';
export { graphMetadata, parseGraphText, readGraphMetadata } from './model-file';
export { type ExportOnnxOptions, exportOnnx, readOnnxModel } from './onnx';
export { parseGraph } from './parse';
export { countMacs, expectTensors, inferShapes } from './shapes';
