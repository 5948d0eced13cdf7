import type { CheckpointFormat, SkippedEntry } from '../checkpoint/state-dict';
import type { EpsChoice } from '../families';
import type { FoldReport } from '../onnx';
import type { VerifyReport } from './verify/report';

/** How a block ends; `convertible` is what an inspection says of one that would be `converted`. */
export type BlockStatus =
  | 'convertible'
  | 'converted'
  | 'already-deployed'
  | 'stale-placeholder'
  | 'kept'
  | 'partial'
  | 'ambiguous'
  | 'unsupported';

/** Smallest and largest value of a weight, in all and of each output channel: what a quantiser chooses its scales by. */
export interface Range {
  readonly min: number;
  readonly max: number;
  readonly channels: { readonly min: readonly number[]; readonly max: readonly number[] };
}

export interface BlockReport {
  /** Dotted path, '' at the root. */
  readonly prefix: string;
  readonly family: string;
  /** The families that share this deploy form, where there are several. */
  readonly mayBe?: readonly string[];
  /** The form in which the file holds it. */
  readonly form: 'train' | 'deploy' | 'mixed';
  /** What it became; in an inspection what would become of it. */
  readonly status: BlockStatus;
  /** Why, where the status does not say enough; names the tensors. */
  readonly reason?: string;
  /** Names of the training branches. */
  readonly branches: readonly string[];
  readonly batchNorms: number;
  /** OIHW of the fused kernel. */
  readonly kernel: readonly [number, number, number, number];
  /** null where no tensor tells: the fused values do not depend on it then. */
  readonly groups: number | null;
  /** Learnable parameters: training form (0 if the file lacks it) and deploy form. */
  readonly parameters: { readonly before: number; readonly after: number };
  readonly eps: EpsChoice;
  /** Largest relative change of a BatchNorm's scale between eps 1e-5 and 1e-3; null without BatchNorm. */
  readonly epsEffect: number | null;
  /** Set where the choice of eps matters (a variance below 100 eps), or where BatchNorms seem never to have been trained. */
  readonly warning?: string;
  /** Range of the main branch's weights before, of the fused weights after. */
  readonly weightRange?: { readonly before: Range; readonly after: Range };
}

/** An input or output of an ONNX model. */
export interface OnnxValue {
  readonly name: string;
  /** `float32`; null for what is no tensor. */
  readonly type: string | null;
  /** A size, the name of one that is open, or null; null as a whole where the model does not tell. */
  readonly shape: readonly (number | string | null)[] | null;
}

/** What only an ONNX model tells; in an inspection what folding would make of it. */
export interface OnnxFacts extends FoldReport {
  readonly opset: number;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** Nodes by operator, the most frequent first. */
  readonly operators: readonly { readonly operator: string; readonly count: number }[];
  readonly batchNorms: { readonly before: number; readonly after: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly bytes: { readonly before: number; readonly after: number };
}

/** What `inspect` and `convert` found in a file. Of an ONNX model there are no blocks, but `OnnxFacts`. */
export interface InspectReport extends Partial<Omit<OnnxFacts, 'parameters' | 'bytes'>> {
  readonly file: string;
  readonly format: CheckpointFormat | 'onnx';
  readonly keyPath: readonly string[];
  readonly droppedPrefix: string;
  readonly alternatives: readonly (readonly string[])[];
  readonly blocks: readonly BlockReport[];
  /** Tensors that belong to no block; of an ONNX model 0. */
  readonly otherTensors: number;
  /** BatchNorms with running statistics that belong to no block; of an ONNX model those that are not folded. */
  readonly batchNormsLeft: number;
  /** Learnable parameters of the whole network. */
  readonly parameters: { readonly before: number; readonly after: number };
  /** Bytes of all tensors, fused weights in float32; of an ONNX model those of its constants. */
  readonly bytes: { readonly before: number; readonly after: number };
  /** Multiply-accumulates of one image, where the file or the options have a graph with an input shape. */
  readonly macs: { readonly before: number; readonly after: number } | null;
  /** Entries of the file that are no weights, left out of a conversion. */
  readonly skipped: readonly SkippedEntry[];
  readonly notes: readonly string[];
}

export interface ConvertReport extends InspectReport {
  /** The file written; a copy where nothing was to be fused. */
  readonly output: string;
  /** SHA-256 of the input in hexadecimal, as it is in the output's metadata; null where it is not. */
  readonly sha256: string | null;
  readonly milliseconds: number;
  readonly verification: VerifyReport | null;
}

export interface ConvertProgress {
  readonly phase: 'read' | 'fuse' | 'write' | 'verify';
  /** Bytes while reading and writing, blocks while fusing and verifying. */
  readonly done: number;
  readonly total: number;
  /** The block being fused or verified. */
  readonly block?: string;
}
