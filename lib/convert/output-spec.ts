import { oneOf, optional } from '../arguments/schemas';
import type { OutputFormat } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import type { Graph } from '../graph';
import { DTYPES, type DType } from '../tensor/dtype';
import type { FloatType } from '../tensor/round';

/** How an output is stored. */
export interface OutputOptions {
  /**
   * Default: by the name of the output: `.safetensors`, `.pth` and `.pt` torch, `.npz`, `.onnx` (which needs the graph); safetensors where
   * it has no ending or is a folder. With a format the name may be any.
   */
  readonly format?: OutputFormat | 'onnx' | undefined;
  /**
   * Type of floating-point tensors: `'f32'`, `'f16'` or `'bf16'` for all of them, rounded once (fused ones from float64); `'keep'`: fused
   * tensors get the type of their block's main convolution (float32 where that is float64), others stay as they are. Default: fused
   * tensors are float32, others stay as they are.
   */
  readonly dtype?: 'f32' | 'f16' | 'bf16' | 'keep' | undefined;
  /**
   * Names of fused tensors: `'native'` (default), those that the authors' deploy code loads (`stage1.0.rbr_reparam.weight`); `'plain'`,
   * those of a convolution in the place of the block (`stage1.0.weight`).
   */
  readonly keys?: 'native' | 'plain' | undefined;
}

/** Schemas of `OutputOptions`. */
export const OUTPUT_OPTIONS = {
  dtype: optional(oneOf(['f32', 'f16', 'bf16', 'keep'])),
  format: optional(oneOf(['safetensors', 'torch', 'npz', 'onnx'])),
  keys: optional(oneOf(['native', 'plain'])),
} as const;

/** How an output is stored, every default filled in. */
export interface OutputSpec {
  readonly format: OutputFormat | 'onnx';
  /** Type of a fused block's tensors, from that of its main convolution. */
  fusedType(anchor: DType): FloatType;
  /** Type of a tensor outside the blocks. */
  otherType(dtype: DType): DType;
  /** Names of a fused block's tensors. */
  keysOf(block: DetectedBlock): DetectedBlock['deployKeys'];
}

export function outputSpec(format: OutputSpec['format'], { dtype, keys }: OutputOptions): OutputSpec {
  const all = dtype === undefined || dtype === 'keep' ? undefined : (dtype.toUpperCase() as FloatType);
  return {
    format,
    fusedType: (anchor) => all ?? (dtype === 'keep' && anchor !== 'F64' ? (anchor as FloatType) : 'F32'),
    otherType: (own) => (DTYPES[own].floating ? (all ?? own) : own),
    keysOf: (block) => (keys === 'plain' ? block.plainKeys : block.deployKeys),
  };
}

/**
 * @param asked a graph or the name of a network was given
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for a format that holds no graph
 */
export function checkOutputOptions({ format }: OutputOptions, asked: boolean): void {
  if (asked && (format === 'torch' || format === 'npz'))
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected safetensors or onnx for \`format\`, a model file with its graph, but received ${format}`,
      { option: 'format' },
    );
}

/**
 * What of the network a file of this format can hold, before any work.
 *
 * @param asked a graph or the name of a network was given: the output is to hold it
 * @param graph the network's, where there is one
 * @returns a note of what is left out
 * @throws ERR_REPFUSE_INVALID_ARGUMENT where that is what was asked for
 */
export function checkSpec(
  { file, format }: { readonly file: string; readonly format: OutputSpec['format'] },
  { dtype }: OutputOptions,
  asked: boolean,
  graph: Graph | undefined,
): string | undefined {
  const refuse = (expected: string, received: string) => {
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} but received ${received}`, { file });
  };
  if (format === 'onnx') {
    if (graph === undefined) refuse(`\`graph\` or \`arch\` for ${file}, an ONNX model,`, 'none');
    if (dtype === 'f16' || dtype === 'bf16') refuse(`float32 for ${file}, an ONNX model,`, dtype);
  } else if (format !== 'safetensors' && graph !== undefined) {
    if (asked) refuse(`safetensors for ${file}, a model file with its graph,`, format);
    return `the network's graph is left out: a ${format} file has no place for it`;
  }
  return undefined;
}
