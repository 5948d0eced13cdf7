export { FixedConstants } from './fixed-constants';
export { foldGraph } from './fold/fold';
export type { FoldedRegion, FoldOptions, FoldReport } from './fold/report';
export { type OnnxModel, parseOnnx, readOnnx, writeOnnx } from './model';
