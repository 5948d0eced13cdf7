import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import type { TensorSource } from '../checkpoint/tensor-source';
import { torchName } from '../checkpoint/torch/torch-pickle';
import { canHold } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import type { BlockFusing } from './fuse-blocks';
import type { FoundBlock } from './inspect';
import type { OutputSpec } from './output-spec';
import { type OutputLosses, roundedSource } from './round-source';

/**
 * The output's tensors in file order: a fused block's two where its first tensor was, none of its training tensors; those of blocks that
 * are fused already under the names of the output; all others as they are, but for their type; those that the format cannot hold are left out and
 * added to `losses`.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT where two tensors would get one name
 */
export function deployTensors(
  opened: OpenCheckpoint,
  found: readonly FoundBlock[],
  fusing: BlockFusing,
  spec: OutputSpec,
  losses: OutputLosses,
  threads: number | undefined,
): Map<string, TensorSource> {
  const owners = new Map<string, FoundBlock>();
  const renamed = new Map<string, string>();
  for (const item of found) {
    const { block, report } = item;
    const { weight, bias } = spec.keysOf(block);
    if (report.status === 'convertible') {
      for (const key of [...block.trainKeys, ...Object.values(block.deployKeys)]) owners.set(key, item);
    } else if (report.status === 'already-deployed') {
      renamed.set(block.deployKeys.weight, weight).set(block.deployKeys.bias, bias);
    }
  }
  const result = new Map<string, TensorSource>();
  const put = (name: string, source: TensorSource, dtype: TensorSource['dtype']) => {
    if (result.has(name)) throw twice(name);
    result.set(name, roundedSource(name, source, dtype, losses, threads));
  };
  const done = new Set<FoundBlock>();
  for (const [key, tensor] of opened.tensors) {
    const item = owners.get(key);
    if (item === undefined) {
      const { dtype, shape } = tensor;
      if (spec.format !== 'onnx' && !canHold(spec.format, dtype)) {
        losses.leftOut.push(`${key} (${torchName(dtype)})`);
        continue;
      }
      const load = () => opened.load([key]).then(() => tensor);
      put(renamed.get(key) ?? key, { dtype, shape, load, release: () => opened.release([key]) }, spec.otherType(dtype));
    } else if (!done.has(item)) {
      done.add(item);
      const { weight, bias } = fusing.sources(item);
      const keys = spec.keysOf(item.block);
      const dtype = spec.fusedType(opened.tensors.get(item.block.anchorKey)!.dtype);
      put(keys.weight, weight, dtype);
      put(keys.bias, bias, dtype);
    }
  }
  return result;
}

function twice(tensor: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected names of their own for all tensors but ${tensor} would be written twice: choose native keys`,
    { tensor },
  );
}
