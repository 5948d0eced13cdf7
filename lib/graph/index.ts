export { type AffineNode, affineStages } from './affine-stages';
export { deployGraph, type FusedBlock } from './deploy';
export { evaluate, evaluateAsync, normalizeInput } from './evaluate';
export { batchNormEps, type Graph, type GraphNode } from './graph';
export { graphMetadata, parseGraphText, readGraphMetadata } from './model-file';
export { parseGraph } from './parse';
export { countMacs, expectTensors, inferShapes } from './shapes';
