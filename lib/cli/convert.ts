import { Command, Option } from 'commander';
import { convert, type OutputOptions } from '../convert';
import { formatReport } from './block-table';
import { addFindFlags, type FindFlags, findOptions } from './find-flags';
import { collect, keyPath, positiveInteger, readJson } from './options';
import { ProgressDisplay } from './progress';
import { EXIT, type Session } from './session';
import { formatVerification } from './verify';

interface ConvertFlags extends FindFlags {
  readonly output: string;
  readonly graph?: string;
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
  readonly threads?: number;
  readonly json?: true;
}

export function convertCommand(session: Session): Command {
  const command = new Command('convert')
    .description('Fuse the branches of every block of a checkpoint and write the deploy form.')
    .argument('<file>', 'training checkpoint: torch (.pth, .pt), safetensors or npz')
    .requiredOption('-o, --output <file>', 'file to write: .pth and .pt for torch, .npz, anything else safetensors');
  return addFindFlags(command)
    .addOption(
      new Option('--format <name>', 'format of the output, whatever its name').choices(['safetensors', 'torch', 'npz']),
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
    .option('--graph <file>', 'the training network as JSON: the output becomes a model file that runs')
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
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the whole report as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ repfuse convert test/fixtures/trained/digits-acnet.pth -o digits-acnet.deploy.safetensors --verify',
    )
    .action(async (file: string, flags: ConvertFlags) => {
      session.json = flags.json === true;
      const progress = new ProgressDisplay();
      await session.run(async () => {
        const graph = flags.graph === undefined ? undefined : await readJson(flags.graph);
        const { output, keep, json: _, eps, family, keyless, rules, ...options } = flags;
        const report = await convert(file, output, {
          ...options,
          ...(await findOptions({ eps, family, keyless, rules })),
          keepBlocks: keep,
          graph,
          signal: session.signal,
          onProgress: progress.update,
        }).finally(progress.end);
        if (session.json) session.jsonResult(report);
        else session.result(formatReport(report, 'done'));
        session.note(
          report.output === null
            ? 'nothing was written'
            : `wrote ${report.output} in ${Math.round(report.milliseconds)} ms`,
        );
        if (report.verification === null) return;
        if (!session.json) session.result(formatVerification(report.verification));
        if (!report.verification.equal) session.exitCode = EXIT.notEqual;
      });
    });
}
