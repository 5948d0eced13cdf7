import { resolve } from 'node:path';
import { inputOf, pathOf, type Source } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';
import type { FoldOptions, FoldReport } from '../onnx';
import { checkOptions, expectBoolean } from '../options';
import { type OnnxVerification, verifyOnnx } from './verify/onnx';

export interface FoldOnnxOptions extends FoldOptions {
  /** Overwrite an existing output. Default false. */
  readonly force?: boolean | undefined;
  /** Wait until the output is on the disk. Default false. */
  readonly durable?: boolean | undefined;
  /**
   * Run both models in the engine on seeded images, and compare their outputs and what every folded region makes with what the given model's
   * operators make one by one. Default false.
   * Only models that repfuse runs can be verified: others throw ERR_REPFUSE_GRAPH after the output has been written.
   */
  readonly verify?: boolean | undefined;
  /** Throw ERR_REPFUSE_NO_BLOCKS if nothing was folded. Default false. */
  readonly requireChange?: boolean | undefined;
}

export interface OnnxReport extends FoldReport {
  readonly input: string;
  /** null where there was nothing to fold: then nothing was written. */
  readonly output: string | null;
  readonly milliseconds: number;
  readonly verification: OnnxVerification | null;
}

/**
 * Folds an ONNX model: every chain and sum of affine operators on one value becomes one Conv (see `foldGraph`), everything else stays as it is.
 * External data become part of the output.
 *
 * @returns what was folded, and what was not, with the reason
 * @throws as `readOnnx`, `foldGraph` and `writeOnnx`; ERR_REPFUSE_NO_BLOCKS (`requireChange`)
 */
export async function foldOnnx(
  source: Source,
  target: string | URL,
  options: FoldOnnxOptions = {},
): Promise<OnnxReport> {
  const { name: input, path } = inputOf(source, 'input');
  const output = pathOf(target, 'output');
  checkOptions('foldOnnx', options, ['durable', 'force', 'grow', 'requireChange', 'signal', 'threads', 'verify']);
  const { durable, force, requireChange, verify, ...rest } = options;
  for (const [name, value] of Object.entries({ durable, force, requireChange, verify, grow: options.grow }))
    expectBoolean(value, name, false);
  if (path !== undefined && resolve(path) === resolve(output)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an output other than the input but received ${output} for both`,
      { file: output },
    );
  }
  const started = performance.now();
  // Protobuf takes 40 ms to load, as long as a small checkpoint to convert.
  const { foldGraph, readOnnx, writeOnnx } = require('../onnx') as typeof import('../onnx');
  const { model, report } = await foldGraph(await readOnnx(source, { signal: options.signal }), rest);
  if (requireChange === true && report.folded.length === 0)
    throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected something to fold in ${input} but found nothing`, {
      file: input,
    });
  if (report.folded.length > 0) await writeOnnx(output, model, { force, durable, signal: options.signal });
  const written = report.folded.length > 0;
  const verification = verify === true && written ? await verifyOnnx(source, output, report.folded, options) : null;
  const milliseconds = performance.now() - started;
  return { input, output: written ? output : null, ...report, milliseconds, verification };
}
