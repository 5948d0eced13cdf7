import { checkOptions } from '../arguments/check';
import { BOOLEAN, optional, optionsOf, SIGNAL, THREADS } from '../arguments/schemas';
import { writeNewFile } from '../checkpoint/files/new-file';
import { type RandomAccess, readBytes } from '../checkpoint/files/random-access';
import { inputOf, pathOf, type Source } from '../checkpoint/files/source';
import { withInput } from '../checkpoint/read-checkpoint';
import { RepfuseError } from '../errors';
import type { FoldOptions, FoldReport } from '../onnx';
import { onnxFacts, onnxNotes } from './onnx-facts';
import { makeFolder, type OutputPlace, outputPlace } from './output-place';
import type { ConvertProgress, ConvertReport, InspectReport } from './report';
import { verifyOnnx } from './verify/onnx';
import type { OnnxVerification } from './verify/report';

export interface FoldOnnxOptions extends Omit<FoldOptions, 'dryRun'> {
  /** Overwrite an existing output. Default false. */
  readonly force?: boolean | undefined;
  /** Wait until the output is on the disk. Default false. */
  readonly durable?: boolean | undefined;
  /**
   * Compare every folded region with the operators that it stands for, and the outputs of the whole models where repfuse runs them
   * (see `OnnxVerification`), after the output has been written. Default false.
   */
  readonly verify?: boolean | undefined;
  /** Throw ERR_REPFUSE_NO_BLOCKS if nothing was folded. Default false. */
  readonly requireChange?: boolean | undefined;
}

const OPTIONS = optionsOf<FoldOnnxOptions>()({
  durable: optional(BOOLEAN),
  force: optional(BOOLEAN),
  grow: optional(BOOLEAN),
  requireChange: optional(BOOLEAN),
  signal: optional(SIGNAL),
  threads: optional(THREADS),
  verify: optional(BOOLEAN),
});

export interface OnnxReport extends FoldReport {
  readonly input: string;
  /** A copy where there was nothing to fold. */
  readonly output: string;
  readonly milliseconds: number;
  /** null where it was not asked for, or nothing was folded. */
  readonly verification: OnnxVerification | null;
}

/**
 * Folds an ONNX model: every chain and sum of affine operators on one value becomes one Conv (see `foldGraph`), everything else stays as it is.
 * External data become part of the output. `convert` does the same, of whatever it is given.
 *
 * @returns what was folded, and what was not, with the reason
 * @throws as `readOnnx`, `foldGraph` and `writeOnnx`; ERR_REPFUSE_NO_BLOCKS (`requireChange`)
 */
export async function foldOnnx(from: Source, target: string | URL, given: FoldOnnxOptions = {}): Promise<OnnxReport> {
  const { name: input } = inputOf(from, 'input');
  const output = pathOf(target, 'output');
  const options = checkOptions('foldOnnx', OPTIONS, given);
  const started = performance.now();
  const report = await withInput(from, { signal: options.signal }, async ({ kind, source }) => {
    if (kind !== 'onnx')
      throw new RepfuseError('ERR_REPFUSE_FORMAT', `Expected an ONNX model for ${input} but received a checkpoint`, {
        file: input,
      });
    return await foldAndWrite(from, source, await outputPlace(inputOf(from), output, kind, options), options);
  });
  const { folded, kept, dead, nodes, convolutions } = report;
  const verification =
    options.verify === true && folded.length > 0 ? await verifyOnnx(from, report.output, folded, options) : null;
  const milliseconds = performance.now() - started;
  return { input, output: report.output, folded, kept, dead, nodes, convolutions, milliseconds, verification };
}

/** What a model is and what of it can be folded; needs no native addon. */
export async function inspectOnnx(from: Source, source: RandomAccess, options: FoldOptions): Promise<InspectReport> {
  // Protobuf takes 40 ms to load, as long as a small checkpoint to convert.
  const { foldGraph, readOnnx } = require('../onnx') as typeof import('../onnx');
  const model = await readOnnx(from, { source, signal: options.signal });
  const facts = onnxFacts(model, await foldGraph(model, { ...options, dryRun: true }));
  return {
    file: inputOf(from).name,
    ...NO_CHECKPOINT,
    ...facts,
    batchNormsLeft: facts.batchNorms.after,
    notes: onnxNotes(facts),
  };
}

/** What a report on a checkpoint tells, and a model has nothing of. */
const NO_CHECKPOINT = {
  format: 'onnx',
  keyPath: [],
  droppedPrefix: '',
  alternatives: [],
  blocks: [],
  otherTensors: 0,
  macs: null,
  skipped: [],
} as const;

/** A report on a model that was folded. */
export type FoldedOnnx = Omit<ConvertReport, 'milliseconds' | 'verification'> & FoldReport;

type WriteOptions = FoldOnnxOptions & { readonly onProgress?: ((progress: ConvertProgress) => void) | undefined };

/** Folds a model that is open; where nothing can be folded the output is a copy. */
export async function foldAndWrite(
  from: Source,
  source: RandomAccess,
  { file: output, newFolder }: OutputPlace,
  { force, durable, requireChange, grow, threads, signal, onProgress = () => {} }: WriteOptions,
): Promise<FoldedOnnx> {
  const { foldGraph, readOnnx, writeOnnx } = require('../onnx') as typeof import('../onnx');
  const file = inputOf(from).name;
  const model = await readOnnx(from, { source, signal });
  const tell = (phase: ConvertProgress['phase'], done: 0 | 1) => onProgress({ phase, done, total: 1 });
  tell('fuse', 0);
  const result = await foldGraph(model, { grow, threads, signal });
  tell('fuse', 1);
  const { folded } = result.report;
  if (requireChange === true && folded.length === 0)
    throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected something to fold in ${file} but found nothing`, {
      file,
    });
  if (newFolder !== undefined) await makeFolder(newFolder);
  tell('write', 0);
  const settings = { force, durable, signal };
  if (folded.length > 0 || (model.external ?? 0) > 0) await writeOnnx(output, result.model, settings);
  else await writeNewFile(output, settings, async (sink) => sink.write(await readBytes(source, 0, source.size)));
  tell('write', 1);
  const facts = onnxFacts(model, result);
  const copied = folded.length > 0 ? [] : ['nothing was to be folded: the output is a copy'];
  return {
    file,
    ...NO_CHECKPOINT,
    ...facts,
    batchNormsLeft: facts.batchNorms.after,
    notes: [...onnxNotes(facts), ...copied],
    output,
    sha256: null,
  };
}
