export { type ConvertOptions, type ConvertProgress, convert } from './convert';
export { type InspectOptions, inspect } from './inspect';
export type { BlockReport, BlockStatus, ConvertReport, InspectReport, Range } from './report';
export { type BlockVerification, type VerifyOptions, type VerifyReport, verify } from './verify';
