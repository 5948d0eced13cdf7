import { Command } from 'commander';
import { type VerifyReport, verify } from '../convert';
import { keyPath, positiveInteger, positiveNumber, readJson } from './options';
import { EXIT, type Session } from './session';
import { formatError, formatTable } from './table';

interface VerifyFlags {
  readonly eps?: number;
  readonly graph?: string;
  readonly keyPath?: string[];
  readonly tolerance?: number;
  readonly seed?: number;
  readonly json?: true;
}

export function verifyCommand(session: Session): Command {
  return new Command('verify')
    .description(
      'Compare a training checkpoint with a deploy checkpoint: branches against fused convolutions, on seeded inputs.',
    )
    .argument('<train>', 'training checkpoint')
    .argument('<deploy>', 'deploy checkpoint')
    .option('--eps <number>', 'BatchNorm eps of every block (default: by family)', positiveNumber)
    .option('--graph <file>', 'the training network as JSON, to compare end to end too')
    .option('--key-path <path>', 'where the weights lie in the first file', keyPath)
    .option('--tolerance <number>', 'bound on the error relative to the peak (default 1e-5)', positiveNumber)
    .option('--seed <number>', 'seed of the inputs (default 1)', positiveInteger)
    .option('--json', 'print the whole report as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ repfuse verify test/fixtures/trained/digits-acnet.pth test/fixtures/trained/digits-acnet.deploy.safetensors',
    )
    .action(async (train: string, deploy: string, flags: VerifyFlags) => {
      session.json = flags.json === true;
      await session.run(async () => {
        const graph = flags.graph === undefined ? undefined : await readJson(flags.graph);
        const report = await verify(train, deploy, { ...flags, graph, signal: session.signal });
        if (session.json) session.jsonResult(report);
        else session.result(formatVerification(report));
        if (!report.equal) session.exitCode = EXIT.notEqual;
      });
    });
}

/** Worst block first, then the verdict. */
export function formatVerification({ blocks, otherTensors, network, equal, tolerance }: VerifyReport): string {
  const rows = blocks.map(({ prefix, family, relative, maxAbsolute, at, equal: same, problem }) => [
    prefix || '(root)',
    family,
    problem === undefined ? formatError(relative) : '-',
    problem === undefined ? formatError(maxAbsolute) : '-',
    problem ?? `[${at.join(', ')}]`,
    same ? 'equal' : 'DIFFERS',
  ]);
  const lines =
    blocks.length === 0
      ? []
      : [formatTable(['block', 'family', 'error/peak', 'error', 'largest at', 'verdict'], rows), ''];
  for (const { key, problem } of otherTensors) lines.push(`${key}: ${problem}`);
  if (network !== null) lines.push(`end to end: error ${formatError(network.relative)} of the peak of the output`);
  const worst = blocks.find((block) => !block.equal);
  const because =
    worst !== undefined
      ? `worst block ${worst.prefix || '(root)'}`
      : otherTensors.length > 0
        ? 'other tensors differ'
        : 'end to end';
  lines.push(
    equal
      ? `equal: every error is within ${tolerance.toExponential()} of the peak (running statistics, float32)`
      : `NOT EQUAL: ${because}; the bound is ${tolerance.toExponential()} of the peak`,
  );
  return lines.join('\n');
}
