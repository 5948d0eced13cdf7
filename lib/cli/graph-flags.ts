import { type Command, Option } from 'commander';
import { NET_NAMES, type NetName } from '../nets';
import { readJson } from './options';

/** Flags that say what network a checkpoint is of. */
export interface GraphFlags {
  readonly graph?: string | undefined;
  readonly arch?: NetName | undefined;
}

export function addGraphFlags(command: Command, use: string): Command {
  return command
    .option('--graph <file>', `the training network as JSON: ${use}`)
    .addOption(
      new Option('--arch <name>', "in place of a graph, a network under its authors' or timm's key names").choices(
        NET_NAMES,
      ),
    );
}

/** The flags as options of the library, the file read. */
export async function graphOptions({ graph, arch }: GraphFlags): Promise<{ graph?: unknown; arch?: NetName }> {
  return {
    ...(graph === undefined ? {} : { graph: await readJson(graph) }),
    ...(arch === undefined ? {} : { arch }),
  };
}
