import { resolve } from 'node:path';
import { RepfuseError } from '../errors';
import type { FoldOptions, FoldReport } from '../onnx';
import { checkOptions, expectBoolean } from '../options';

export interface FoldOnnxOptions extends FoldOptions {
  /** Overwrite an existing output. Default false. */
  readonly force?: boolean | undefined;
  /** Wait until the output is on the disk. Default false. */
  readonly durable?: boolean | undefined;
  /** Throw ERR_REPFUSE_NO_BLOCKS if nothing was folded. Default false. */
  readonly requireChange?: boolean | undefined;
}

export interface OnnxReport extends FoldReport {
  readonly input: string;
  /** null where there was nothing to fold: then nothing was written. */
  readonly output: string | null;
  readonly milliseconds: number;
}

/**
 * Folds an ONNX model: every chain and sum of affine operators on one value becomes one Conv (see `foldGraph`), everything else stays as it is.
 * External data become part of the output.
 *
 * @returns what was folded, and what was not, with the reason
 * @throws as `readOnnx`, `foldGraph` and `writeOnnx`; ERR_REPFUSE_NO_BLOCKS (`requireChange`)
 */
export async function foldOnnx(input: string, output: string, options: FoldOnnxOptions = {}): Promise<OnnxReport> {
  checkOptions('foldOnnx', options, ['durable', 'force', 'grow', 'requireChange', 'signal', 'threads']);
  const { durable, force, requireChange, ...rest } = options;
  for (const [name, value] of Object.entries({ durable, force, requireChange, grow: options.grow }))
    expectBoolean(value, name, false);
  if (resolve(input) === resolve(output)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an output other than the input but received ${output} for both`,
      { file: output },
    );
  }
  const started = performance.now();
  // Protobuf takes 40 ms to load, as long as a small checkpoint to convert.
  const { foldGraph, readOnnx, writeOnnx } = require('../onnx') as typeof import('../onnx');
  const { model, report } = await foldGraph(await readOnnx(input), rest);
  if (requireChange === true && report.folded.length === 0)
    throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected something to fold in ${input} but found nothing`, {
      file: input,
    });
  if (report.folded.length > 0) await writeOnnx(output, model, { force, durable, signal: options.signal });
  return {
    input,
    output: report.folded.length > 0 ? output : null,
    ...report,
    milliseconds: performance.now() - started,
  };
}
