export { FixedConstants } from './fixed-constants';
export { type FoldedRegion, type FoldOptions, type FoldReport, foldGraph } from './fold/fold';
export { type OnnxModel, parseOnnx, readOnnx, writeOnnx } from './model';
