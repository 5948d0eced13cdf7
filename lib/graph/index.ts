export { type AffineNode, affineStages } from './affine-stages';
export { deployGraph, type FusedBlock } from './deploy';
export { evaluate, evaluateAsync, evaluateValues, normalizeInput } from './evaluate';
export type { ReadModel } from './from-onnx/reader';
export { batchNormEps, type Graph, type GraphNode, nodeKeys, outputsOf } from './graph';
export { graphMetadata, parseGraphText, readGraphMetadata } from './model-file';
export { type ExportOnnxOptions, exportOnnx, readOnnxModel } from './onnx';
export { parseGraph } from './parse';
export { countMacs, expectTensors, inferShapes } from './shapes';
