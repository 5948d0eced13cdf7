import { Command } from 'commander';
import { type VerifyReport, verify } from '../convert';
import { printable } from '../printable';
import { addFindFlags, type FindFlags, findOptions } from './find-flags';
import { asOnnxVerification, formatVerdict } from './folding-table';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { keyPath, nonNegativeNumber, positiveInteger } from './options';
import { ProgressDisplay } from './progress';
import { EXIT, type Session } from './session';
import { formatError, formatTable } from './table';

interface VerifyFlags extends FindFlags, GraphFlags {
  readonly keyPath?: string[];
  readonly tolerance?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly json?: true;
}

export function verifyCommand(session: Session): Command {
  const command = new Command('verify')
    .description('Compare two files of a network, checkpoints or ONNX models, in any form, on seeded inputs.')
    .argument('<first>', 'checkpoint or ONNX model, usually the training form')
    .argument('<second>', 'checkpoint or ONNX model, usually its deploy form');
  return addGraphFlags(addFindFlags(command), 'compares end to end too')
    .option('--key-path <path>', 'where the weights lie in the first file', keyPath)
    .option(
      '--tolerance <number>',
      'bound on the error of every block relative to the peak (default: by its size and type)',
      nonNegativeNumber,
    )
    .option('--seed <number>', 'seed of the inputs (default 1)', positiveInteger)
    .option('--threads <number>', 'threads (default: CPUs and quota)', positiveInteger)
    .option('--json', 'print the whole report as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ repfuse verify test/fixtures/trained/digits-acnet.pth test/fixtures/trained/digits-acnet.deploy.safetensors',
    )
    .action(async (first: string, second: string, flags: VerifyFlags) => {
      session.json = flags.json === true;
      const progress = new ProgressDisplay();
      await session.run(async () => {
        const { json: _, eps, family, keyless, rules, graph, arch, ...options } = flags;
        const report = await verify(first, second, {
          ...options,
          ...(await findOptions({ eps, family, keyless, rules })),
          ...(await graphOptions({ graph, arch })),
          signal: session.signal,
          onProgress: progress.update,
        }).finally(progress.end);
        if (session.json) session.jsonResult(report);
        else session.result(formatVerification(printable(report)));
        if (!report.equal) session.exitCode = EXIT.notEqual;
      });
    });
}

/** Worst block first, then the verdict. */
export function formatVerification(report: VerifyReport): string {
  const models = asOnnxVerification(report);
  if (models !== null) return [...report.notes.map((note) => `note: ${note}`), formatVerdict(models)].join('\n');
  const { blocks, otherTensors, network, equal, notes } = report;
  const isBeside = blocks.some(({ beside }) => beside !== undefined);
  const rows = blocks.map(({ prefix, family, relative, bound, maxAbsolute, at, equal: same, problem, beside }) => [
    prefix || '(root)',
    family,
    ...(isBeside ? [beside ?? '-'] : []),
    problem === undefined ? formatError(relative) : '-',
    problem === undefined ? formatError(bound) : '-',
    problem === undefined ? formatError(maxAbsolute) : '-',
    problem ?? `[${at.join(', ')}]`,
    same ? 'equal' : 'DIFFERS',
  ]);
  const lines =
    rows.length === 0
      ? []
      : [
          formatTable(
            [
              'block',
              'family',
              ...(isBeside ? ['beside'] : []),
              'error/peak',
              'bound',
              'error',
              'largest at',
              'verdict',
            ],
            rows,
          ),
          '',
        ];
  for (const { key, problem } of otherTensors) lines.push(`${key}: ${problem}`);
  if (network !== null) {
    const { problem, relative, bound, equal: same } = network;
    lines.push(
      `end to end: ${problem ?? `error ${formatError(relative)} of the peak of the output (bound ${formatError(bound)})`}${same ? '' : ' DIFFERS'}`,
    );
  }
  for (const note of notes) lines.push(`note: ${note}`);
  lines.push(equal ? agreement(report) : `NOT EQUAL: ${disagreement(report)}`);
  return lines.join('\n');
}

function agreement({ blocks, network }: VerifyReport): string {
  if (blocks.length === 0 && network !== null) return 'equal: the outputs of both networks agree';
  if (blocks.length === 0) return 'equal: no blocks, and every tensor is the same';
  return 'equal: the error of every block is within its bound (running statistics, float32)';
}

function disagreement({ blocks, network }: VerifyReport): string {
  const worst = blocks.find((block) => !block.equal);
  if (worst !== undefined) return `worst block ${worst.prefix || '(root)'}`;
  if (network?.equal === false) return 'the networks differ end to end';
  return 'tensors outside the blocks differ';
}
