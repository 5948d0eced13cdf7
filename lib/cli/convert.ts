import { Command, Option } from 'commander';
import { type ConvertOptions, type ConvertProgress, type ConvertReport, convert, type OutputOptions } from '../convert';
import { RepfuseError } from '../errors';
import { printable } from '../printable';
import { formatReport } from './block-table';
import { addBatchFlags, type BatchFlags, convertBatch } from './convert-batch';
import { addFindFlags, type FindFlags, findOptions } from './find-flags';
import { formatFolding, isOnnxReport } from './folding-table';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { collect, keyPath, positiveInteger } from './options';
import { ProgressDisplay } from './progress';
import { EXIT, type Session } from './session';
import { formatVerification } from './verify';

interface ConvertFlags extends FindFlags, GraphFlags, BatchFlags {
  readonly output?: string;
  readonly keyPath?: string[];
  readonly keep?: string[];
  readonly requireChange?: true;
  readonly verify?: true;
  readonly force?: true;
  readonly hash?: boolean;
  readonly durable?: true;
  readonly ranges?: true;
  readonly format?: OutputOptions['format'];
  readonly dtype?: OutputOptions['dtype'];
  readonly keys?: OutputOptions['keys'];
  readonly grow?: true;
  readonly threads?: number;
  readonly json?: true;
}

export function convertCommand(session: Session): Command {
  const command = new Command('convert')
    .description('Fuse the branches of every block of a checkpoint, or of an ONNX model, and write the deploy form.')
    .argument(
      '<files...>',
      "training checkpoints: torch (.pth, .pt), safetensors or npz; ONNX models; patterns such as 'ckpts/**/*.pth' too",
    )
    .option(
      '-o, --output <file>',
      'file to write: .safetensors, .pth or .pt for torch, .npz, .onnx (with --graph or --arch); or a folder',
    );
  addBatchFlags(command);
  return addGraphFlags(addFindFlags(command), 'the output becomes a model file that runs')
    .addOption(
      new Option('--format <name>', 'format of the output, whatever its name').choices([
        'safetensors',
        'torch',
        'npz',
        'onnx',
      ]),
    )
    .addOption(
      new Option('--dtype <type>', 'type of the weights (default: fused ones f32, others as they are)').choices([
        'f32',
        'f16',
        'bf16',
        'keep',
      ]),
    )
    .addOption(
      new Option('--keys <style>', "names of fused tensors: the authors' own, or those of a plain convolution").choices(
        ['native', 'plain'],
      ),
    )
    .option('--key-path <path>', 'where the weights lie in the file, such as state_dict', keyPath)
    .option('--keep <block>', 'leave this block as it is (may be given several times)', collect)
    .option('--require-change', 'fail if no block was fused')
    .option('--verify', 'compare both files block by block afterwards')
    .option('--force', 'overwrite the output')
    .option('--no-hash', "leave the input's SHA-256 out of the output's metadata: faster")
    .option('--durable', 'wait until the output is on the disk')
    .option(
      '--ranges',
      'report the ranges of weights before and after, by channel in --json: for those who quantise next',
    )
    .option('--grow', 'ONNX: merge even where one convolution costs more than its parts')
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the whole report as JSON')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  $ repfuse convert test/fixtures/trained/*.pth --out-dir deployed',
        '  $ repfuse convert test/fixtures/trained/digits-acnet.pth -o digits-acnet.deploy.safetensors --verify',
      ].join('\n'),
    )
    .action(async (files: string[], flags: ConvertFlags) => {
      session.json = flags.json === true;
      const {
        output,
        outDir,
        jobs,
        resume,
        shard,
        graph,
        keep,
        eps,
        family,
        keyless,
        rules,
        arch,
        json: _,
        ...rest
      } = flags;
      const isBatch = outDir !== undefined;
      if (isBatch === (output !== undefined)) command.error('error: expected either -o, --output or --out-dir');
      if (!isBatch && files.length > 1)
        command.error('error: expected one file for -o, --output: several go to --out-dir');
      await session.run(async () => {
        const options = {
          ...rest,
          ...(await findOptions({ eps, family, keyless, rules })),
          keepBlocks: keep,
          ...(await graphOptions({ graph, arch })),
        };
        if (isBatch) await convertBatch(session, files, { ...options, outDir, jobs, resume, shard });
        else await convertOne(session, files[0]!, output!, options);
      });
    });
}

async function convertOne(session: Session, file: string, output: string, options: ConvertOptions): Promise<void> {
  const progress = new ProgressDisplay();
  let written = false;
  const onProgress = (step: ConvertProgress) => {
    written ||= step.phase === 'verify';
    progress.update(step);
  };
  const report = await convert(file, output, { ...options, signal: session.signal, onProgress })
    .catch((error) => {
      if (!session.signal.aborted || !written) throw error;
      const message = `The operation was aborted after ${output} was written and before it was verified`;
      throw new RepfuseError('ERR_REPFUSE_ABORTED', message, { output }, { cause: error });
    })
    .finally(progress.end);
  if (session.json) session.jsonResult(report);
  else session.result(formatConversion(printable(report)));
  session.note(`wrote ${printable(report.output)} in ${Math.round(report.milliseconds)} ms`);
  if (report.verification?.equal === false) session.exitCode = EXIT.notEqual;
}

function formatConversion(report: ConvertReport): string {
  const { verification } = report;
  if (isOnnxReport(report)) return formatFolding(report, verification);
  return [formatReport(report), ...(verification === null ? [] : [formatVerification(verification)])].join('\n');
}
