import { BOOLEAN, membersOf, optional, TEXT } from '../arguments/schemas';
import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { FamilyRule } from '../families/rule';
import { toFloat32 } from '../tensor/half';
import { formatShape, Tensor } from '../tensor/tensor';
import type { TensorSpec, TensorSpecs } from './definition';

export interface LoadStateDictOptions {
  /** Path of the block in the state dict, `stage1.0`; with or without its last dot. Other keys are ignored. Default ''. */
  readonly prefix?: string | undefined;
  /** Use the tensors as they are instead of copying them: `switchToDeploy` may then overwrite them. Default false. */
  readonly borrow?: boolean | undefined;
}

export const LOAD_STATE_DICT_OPTIONS = membersOf<LoadStateDictOptions>()({
  prefix: optional(TEXT),
  borrow: optional(BOOLEAN),
});

/** How many keys a message lists before it only counts the rest; `details` holds all. */
const LISTED_KEYS = 12;

/**
 * The tensors that `specs` ask for, out of a state dict, in the order of the specs.
 *
 * @throws ERR_REPFUSE_KEY naming the keys that are missing or not expected; ERR_REPFUSE_SHAPE and ERR_REPFUSE_INVALID_ARGUMENT
 *   naming the tensor
 */
export function takeTensors(
  stateDict: StateDict,
  specs: TensorSpecs,
  rule: FamilyRule,
  { prefix = '', borrow = false }: LoadStateDictOptions,
): StateDict {
  const path = prefix === '' || prefix.endsWith('.') ? prefix : `${prefix}.`;
  const given = new Map(
    [...stateDict]
      .filter(([key]) => key.startsWith(path))
      .map(([key, tensor]) => [key.slice(path.length), tensor] as const)
      .filter(([key]) => !rule.leftovers?.includes(key)),
  );
  const missing = [...specs].filter(([key, { role }]) => role !== 'counter' && !given.has(key)).map(([key]) => key);
  const unexpected = [...given.keys()].filter((key) => !specs.has(key));
  if (missing.length > 0 || unexpected.length > 0) {
    throw keyError(rule, missing, unexpected, path);
  }
  return new Map(
    [...specs].map(([key, spec]) => {
      const tensor = given.get(key);
      return [key, tensor === undefined ? zeroCounter() : adopt(path + key, tensor, spec, borrow)];
    }),
  );
}

function keyError(rule: FamilyRule, missing: string[], unexpected: string[], path: string): RepfuseError {
  const list = (keys: readonly string[]) => {
    const rest = keys.length - LISTED_KEYS;
    const listed = keys.slice(0, LISTED_KEYS).map((key) => path + key);
    return listed.join(', ') + (rest > 0 ? ` and ${rest} more` : '');
  };
  const parts = [
    ...(missing.length > 0 ? [`missing ${list(missing)}`] : []),
    ...(unexpected.length > 0 ? [`not expected ${list(unexpected)}`] : []),
  ];
  return new RepfuseError(
    'ERR_REPFUSE_KEY',
    `Expected the keys of a ${rule.family} block but the state dict does not fit: ${parts.join('; ')}${formHint(rule, missing, unexpected)}`,
    { missing: missing.map((key) => path + key), unexpected: unexpected.map((key) => path + key) },
  );
}

/** The commonest reason: the state dict is in the block's other form. */
function formHint({ anchor, deploy }: FamilyRule, missing: readonly string[], unexpected: readonly string[]): string {
  if (unexpected.includes(deploy.weight) && missing.includes(anchor))
    return ' (it is in deploy form: create the block with deploy: true)';
  if (unexpected.includes(anchor) && missing.includes(deploy.weight))
    return ' (it is in training form: create the block with deploy: false)';
  return '';
}

function adopt(name: string, tensor: Tensor, { shape, role }: TensorSpec, borrow: boolean): Tensor {
  if (formatShape(tensor.shape) !== formatShape(shape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${formatShape(shape)} for ${name} but received ${formatShape(tensor.shape)}`,
      { tensor: name },
    );
  }
  if (role === 'counter') {
    if (tensor.dtype !== 'I64') throw typeError(name, 'I64', tensor);
    return borrow ? tensor : copyTensor(tensor);
  }
  // Float64 would be rounded, and fusing rounds only once.
  if (!['F32', 'F16', 'BF16'].includes(tensor.dtype)) throw typeError(name, 'F32, F16 or BF16', tensor);
  if (tensor.dtype === 'F32') return borrow ? tensor : copyTensor(tensor);
  return Tensor.f32(shape, toFloat32(tensor));
}

function typeError(name: string, expected: string, { dtype }: Tensor): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} for ${name} but received ${dtype}`, {
    tensor: name,
  });
}

/** `num_batches_tracked`, which a state dict may lack. */
function zeroCounter(): Tensor {
  return new Tensor('I64', [], new BigInt64Array(1));
}

export function copyTensor({ dtype, shape, data }: Tensor): Tensor {
  return new Tensor(dtype, shape, data.slice());
}
