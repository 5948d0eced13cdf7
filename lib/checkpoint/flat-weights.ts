import { RepfuseError } from '../errors';
import { formatShape } from '../tensor/tensor';
import type { StoredTensor } from './stored-tensor';
import type { Weights } from './weights';

/** The weights of a format that is a flat list of tensors. @throws ERR_REPFUSE_KEY for a `keyPath` */
export function flatWeights(
  format: Weights['format'],
  tensors: ReadonlyMap<string, StoredTensor>,
  keyPath: readonly string[] = [],
  about: Partial<Pick<Weights, 'metadata' | 'skipped' | 'unread'>> = {},
): Weights {
  if (keyPath.length > 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_KEY',
      `Expected no \`keyPath\` for a ${format} file, which is flat, but received ${JSON.stringify(keyPath.join('.'))}`,
      { keyPath },
    );
  }
  return {
    format,
    keyPath: [],
    alternatives: [],
    skipped: [],
    metadata: {},
    unread: new Map(),
    texts: new Map(),
    modules: new Map(),
    ...about,
    names: [...tensors.keys()],
    whatIs: (name) => `tensor ${tensors.get(name)!.dtype} ${formatShape(tensors.get(name)!.shape)}`,
    store: (names) => new Map(names.map((name) => [name, tensors.get(name)!])),
  };
}
