import { Command } from 'commander';
import { type InspectReport, inspect } from '../convert';
import { formatReport } from './block-table';
import { addFindFlags, type FindFlags, findOptions } from './find-flags';
import { addGraphFlags, type GraphFlags, graphOptions } from './graph-flags';
import { keyPath } from './options';
import { EXIT, type Session } from './session';

interface InspectFlags extends FindFlags, GraphFlags {
  readonly keyPath?: string[];
  readonly check?: true;
  readonly json?: true;
}

export function inspectCommand(session: Session): Command {
  const command = new Command('inspect')
    .description('Show the re-parameterizable blocks of a checkpoint: family, form, branches, parameters.')
    .argument('<file>', 'checkpoint: torch (.pth, .pt), safetensors or npz');
  return addGraphFlags(addFindFlags(command), 'tells multiply-accumulates')
    .option('--key-path <path>', 'where the weights lie in the file, such as state_dict', keyPath)
    .option('--check', 'fail (exit code 3) if a block is not in deploy form: for CI')
    .option('--json', 'print the whole report as JSON')
    .addHelpText('after', '\nExample:\n  $ repfuse inspect test/fixtures/trained/digits-acnet.pth')
    .action(async (file: string, flags: InspectFlags) => {
      session.json = flags.json === true;
      await session.run(async () => {
        const report = await inspect(file, {
          ...(await findOptions(flags)),
          keyPath: flags.keyPath,
          ...(await graphOptions(flags)),
          signal: session.signal,
        });
        if (session.json) session.jsonResult(report);
        else session.result(formatReport(report));
        if (flags.check && !isDeployed(report)) session.exitCode = EXIT.notEqual;
      });
    });
}

function isDeployed({ blocks }: InspectReport): boolean {
  return blocks.every(({ status }) => status === 'already-deployed');
}
