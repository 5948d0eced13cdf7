import { type Command, InvalidArgumentError } from 'commander';
import type { FindOptions } from '../convert';
import { FAMILY_RULES, parseRules } from '../families';
import { collect, epsilon, readJson } from './options';

/** Flags that steer the search for blocks, of every command that looks for them. */
export interface FindFlags {
  readonly eps?: number | 'auto' | undefined;
  readonly family?: string[] | undefined;
  readonly keyless?: Record<string, readonly string[]> | undefined;
  readonly rules?: string[] | undefined;
}

export function addFindFlags(command: Command): Command {
  return command
    .option('--eps <number>', 'BatchNorm eps of every block (default auto: by family)', epsilon)
    .option(
      '--family <name>',
      'the file holds this family: settles an ambiguity; conv-bn folds plain pairs too',
      collect,
    )
    .option('--keyless <block=names>', 'branches that have no key, such as stage1.0=input or *=none', collectKeyless)
    .option('--rules <file>', 'JSON file with family rules of your own, which come before ours', collect);
}

/** The flags as options of the library, the rule files read. */
export async function findOptions({ eps, family, keyless, rules = [] }: FindFlags): Promise<FindOptions> {
  const own = await Promise.all(rules.map(async (file) => parseRules(await readJson(file, 'ERR_REPFUSE_RULE'), file)));
  return { eps, families: family, keyless, ...(own.length === 0 ? {} : { rules: [...own.flat(), ...FAMILY_RULES] }) };
}

function collectKeyless(text: string, before: Record<string, readonly string[]> = {}) {
  const [, prefix, names] = /^(.*)=([^=]*)$/.exec(text) ?? [];
  if (prefix === undefined || names === undefined)
    throw new InvalidArgumentError('expected a block, = and names, such as stage1.0=input');
  return { ...before, [prefix]: names === 'none' || names === '' ? [] : names.split(',') };
}
