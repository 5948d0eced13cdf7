import { RepfuseError } from '../errors';
import { shorten } from './shorten';

/** What DataParallel, DistributedDataParallel and AveragedModel, and torch.compile put before every name. */
const WRAPPER_PREFIXES = ['module.', '_orig_mod.'];

export interface SelectedKeys {
  /** Name in the file -> name without the prefix, in file order. */
  readonly kept: ReadonlyMap<string, string>;
  readonly droppedPrefix: string;
  /** Names that an explicit prefix leaves out. */
  readonly left: readonly string[];
}

/**
 * Which names to read, and what to call them.
 *
 * With `prefix`: those that start with it, without it. Otherwise wrapper prefixes are dropped, at the start of names only, and only if
 * every name with a dot has them: a wrapper wraps the whole network, while its own buffers (`n_averaged`) have no dot.
 *
 * @throws ERR_REPFUSE_KEY if no name starts with `prefix`
 */
export function selectKeys(names: readonly string[], prefix?: string): SelectedKeys {
  if (prefix !== undefined) {
    const kept = names.filter((name) => name.startsWith(prefix));
    if (kept.length === 0) {
      throw new RepfuseError(
        'ERR_REPFUSE_KEY',
        `Expected keys that start with ${JSON.stringify(shorten(prefix))} but received ${names.slice(0, 4).map(shorten).join(', ')}, ...`,
        { prefix },
      );
    }
    return {
      kept: withoutPrefix(kept, prefix),
      droppedPrefix: prefix,
      left: names.filter((name) => !name.startsWith(prefix)),
    };
  }
  const wrapper = wrapperPrefix(names.filter((name) => name.includes('.')));
  const kept = withoutPrefix(names, wrapper);
  const unique = new Set(kept.values()).size === names.length;
  return unique
    ? { kept, droppedPrefix: wrapper, left: [] }
    : { kept: withoutPrefix(names, ''), droppedPrefix: '', left: [] };
}

/** The longest run of wrappers that all names begin with. */
function wrapperPrefix([first, ...others]: readonly string[]): string {
  let shared = first === undefined ? 0 : first.length;
  for (const name of others) {
    let same = 0;
    while (same < shared && name.charCodeAt(same) === first!.charCodeAt(same)) same++;
    shared = same;
  }
  let end = 0;
  for (let wrapper: string | undefined = ''; wrapper !== undefined && end + wrapper.length <= shared; ) {
    end += wrapper.length;
    wrapper = WRAPPER_PREFIXES.find((candidate) => first?.startsWith(candidate, end));
  }
  return first?.slice(0, end) ?? '';
}

function withoutPrefix(names: readonly string[], prefix: string): Map<string, string> {
  return new Map(names.map((name) => [name, name.startsWith(prefix) ? name.slice(prefix.length) : name]));
}
