import type { StateDict } from '../checkpoint/state-dict';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, Tensor } from '../tensor/tensor';
import { type Architecture, hasIdentity, hasScale, type NetBlock, squeezedChannels } from './architecture';
import { type KeyNames, prefixOf } from './key-names';
import type { NetForm } from './net-graph';

/** What becomes of a tensor's values when they are drawn. */
type Role = 'bias' | 'counter' | 'gamma' | 'mean' | 'var' | 'weight';

interface Spec {
  readonly shape: readonly number[];
  readonly role: Role;
}

/** Shape and role of every tensor of a network, by key, in the order of the blocks. */
export function specsOf(
  architecture: Architecture,
  names: KeyNames,
  formOf: (prefix: string) => NetForm,
  classes: number,
): Map<string, Spec> {
  const specs = new Map<string, Spec>();
  for (const block of architecture.blocks) {
    const prefix = prefixOf(block, names);
    addBlock(specs, block, prefix, names, formOf(prefix));
  }
  const features = architecture.blocks.at(-1)!.outChannels;
  specs.set(`${names.head}.weight`, { shape: [classes, features], role: 'weight' });
  specs.set(`${names.head}.bias`, { shape: [classes], role: 'bias' });
  return specs;
}

function addBlock(specs: Map<string, Spec>, block: NetBlock, prefix: string, names: KeyNames, form: NetForm): void {
  const { inChannels, outChannels, groups, kernel } = block;
  const set = (key: string, role: Role, ...shape: number[]) => specs.set(`${prefix}.${key}`, { shape, role });
  const batchNorm = (key: string) => {
    set(`${key}.weight`, 'gamma', outChannels);
    set(`${key}.bias`, 'bias', outChannels);
    set(`${key}.running_mean`, 'mean', outChannels);
    set(`${key}.running_var`, 'var', outChannels);
    set(`${key}.num_batches_tracked`, 'counter');
  };
  const convBatchNorm = (key: string, size: number) => {
    set(`${key}.conv.weight`, 'weight', outChannels, inChannels / groups, size, size);
    batchNorm(`${key}.bn`);
  };
  if (form === 'deploy') {
    set(`${names.deploy}.weight`, 'weight', outChannels, inChannels / groups, kernel, kernel);
    set(`${names.deploy}.bias`, 'bias', outChannels);
  } else {
    for (let i = 0; i < block.branches; i++) convBatchNorm(names.branch(i), kernel);
    if (hasScale(block)) convBatchNorm(names.scale, 1);
    if (hasIdentity(block)) batchNorm(names.identity);
  }
  if (!block.squeezeExcite) return;
  const [reduce, expand] = names.squeezeExcite;
  const squeezed = squeezedChannels(block);
  set(`${reduce}.weight`, 'weight', squeezed, outChannels, 1, 1);
  set(`${reduce}.bias`, 'bias', squeezed);
  set(`${expand}.weight`, 'weight', outChannels, squeezed, 1, 1);
  set(`${expand}.bias`, 'bias', outChannels);
}

/** Whether a tensor is learned: BatchNorm statistics are not. */
export const isParameter = ({ role }: Spec): boolean => role !== 'mean' && role !== 'var' && role !== 'counter';

/**
 * Random values of about the size of trained ones: weights of variance 2 / fan in, so that activations neither die nor grow, BatchNorms
 * with statistics that do something. One generator (`seededUniform`) draws all, in the order of the keys.
 */
export function seedTensors(specs: ReadonlyMap<string, Spec>, seed: number): StateDict {
  const uniform = seededUniform(seed);
  return new Map([...specs].map(([key, spec]) => [key, seedTensor(spec, uniform)]));
}

function seedTensor({ shape, role }: Spec, uniform: () => number): Tensor {
  if (role === 'counter') return new Tensor('I64', shape, new BigInt64Array(1));
  const within = (low: number, high: number) =>
    Tensor.f32(shape, uniformValues(uniform, elementCount(shape), low, high));
  switch (role) {
    case 'weight': {
      const bound = Math.sqrt(6 / elementCount(shape.slice(1)));
      return within(-bound, bound);
    }
    case 'gamma':
      return within(0.2, 1);
    case 'var':
      return within(0.25, 1.75);
    default:
      return within(-0.2, 0.2);
  }
}
