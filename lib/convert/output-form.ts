import { formatOfName, type OutputFormat } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { expectChoice } from '../options';
import { DTYPES, type DType } from '../tensor/dtype';
import type { FloatType } from '../tensor/round';

/** How an output is stored. */
export interface OutputOptions {
  /** Default: by the name of the output: `.pth` and `.pt` torch, `.npz` npz, `.onnx` ONNX (which needs the graph), anything else safetensors. */
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

/** The names of the options. */
export const OUTPUT_OPTIONS = ['dtype', 'format', 'keys'] as const satisfies readonly (keyof OutputOptions)[];

/** How an output is stored, every default filled in. */
export interface OutputForm {
  readonly format: OutputFormat | 'onnx';
  /** Type of a fused block's tensors, from that of its main convolution. */
  fusedType(anchor: DType): FloatType;
  /** Type of a tensor outside the blocks. */
  otherType(dtype: DType): DType;
  /** Names of a fused block's tensors. */
  keysOf(block: DetectedBlock): DetectedBlock['deployKeys'];
}

export function outputForm(
  file: string,
  { format = /\.onnx$/i.test(file) ? 'onnx' : formatOfName(file), dtype, keys }: OutputOptions,
): OutputForm {
  const all = dtype === undefined || dtype === 'keep' ? undefined : (dtype.toUpperCase() as FloatType);
  return {
    format,
    fusedType: (anchor) => all ?? (dtype === 'keep' && anchor !== 'F64' ? (anchor as FloatType) : 'F32'),
    otherType: (own) => (DTYPES[own].floating ? (all ?? own) : own),
    keysOf: (block) => (keys === 'plain' ? block.plainKeys : block.deployKeys),
  };
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for an option that is none of its kind, or a graph for a format that holds none */
export function checkOutputOptions(file: string, options: OutputOptions, hasGraph: boolean): void {
  const { dtype, format, keys } = options;
  expectChoice(dtype, 'dtype', ['f32', 'f16', 'bf16', 'keep']);
  expectChoice(format, 'format', ['safetensors', 'torch', 'npz', 'onnx']);
  expectChoice(keys, 'keys', ['native', 'plain']);
  const { format: asked } = outputForm(file, options);
  const refuse = (expected: string, received: string) => {
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} but received ${received}`, { file });
  };
  if (hasGraph && asked !== 'safetensors' && asked !== 'onnx')
    refuse(`safetensors for ${file}, a model file with its graph,`, asked);
  if (asked !== 'onnx') return;
  if (!hasGraph) refuse(`a graph or arch for ${file}, an ONNX model,`, 'none');
  if (dtype === 'f16' || dtype === 'bf16') refuse(`float32 for ${file}, an ONNX model,`, dtype);
}
