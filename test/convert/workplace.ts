import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';

/** A folder of its own for every test. */
export function workplace() {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'repfuse-convert-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const path = (name: string) => join(folder, name);
  return {
    path,
    names: () => readdirSync(folder).sort(),
    /** Writes state dicts, one after the other, into a safetensors file. */
    async write(name: string, ...parts: Iterable<readonly [string, Tensor]>[]): Promise<string> {
      await writeSafetensors(path(name), new Map(parts.flatMap((part) => [...part])), { force: true });
      return path(name);
    },
  };
}

/** Tensors of no block. */
export const OTHER_TENSORS: ReadonlyMap<string, Tensor> = new Map([
  ['head.weight', Tensor.f32([2, 3], [1, 2, 3, 4, 5, 6])],
  ['submodule.counter', new Tensor('I64', [], BigInt64Array.of(87075n))],
]);
