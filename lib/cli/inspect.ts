import { Command } from 'commander';
import { type InspectReport, inspect } from '../convert';
import { printable } from '../printable';
import { formatReport } from './block-table';
import { addFindFlags, type FindFlags, findOptions } from './find-flags';
import { formatOnnx, isOnnxReport } from './folding-table';
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
    .description('Show what of a checkpoint or an ONNX model can be fused: blocks, families, forms, parameters; nodes.')
    .argument('<file>', 'checkpoint: torch (.pth, .pt), safetensors or npz; or an ONNX model');
  return addGraphFlags(addFindFlags(command), 'tells multiply-accumulates')
    .option('--key-path <path>', 'where the weights lie in the file, such as state_dict', keyPath)
    .option('--check', 'fail (exit code 3) if something is left to fuse: for CI')
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
        else {
          const shown = printable(report);
          session.result(isOnnxReport(shown) ? formatOnnx(shown) : formatReport(shown));
        }
        if (flags.check && !isDeployed(report)) session.exitCode = EXIT.notEqual;
      });
    });
}

function isDeployed({ blocks, folded = [] }: InspectReport): boolean {
  return folded.length === 0 && blocks.every(({ status }) => status === 'already-deployed');
}
