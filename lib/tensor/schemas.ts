import { checkArgument } from '../arguments/check';
import { isListOf, MAP, type Schema, value } from '../arguments/schemas';
import { quote, show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { isDType } from './dtype';
import { isTensor, type Tensor } from './tensor';

export const TENSOR: Schema<Tensor> = value('a Tensor', isTensor);

/** A tensor of which only type and shape are looked at. */
export type TensorStub = Pick<Tensor, 'dtype' | 'shape'>;

export function isTensorStub(given: unknown): given is TensorStub {
  try {
    const { dtype, shape } = given as TensorStub;
    return isDType(dtype) && isListOf(shape, (dim) => Number.isSafeInteger(dim) && (dim as number) >= 0);
  } catch {
    return false; // null, or what throws when it is looked at
  }
}

/**
 * Tensors by name.
 *
 * @param name what the caller calls the map
 * @throws ERR_REPFUSE_INVALID_ARGUMENT naming the tensor
 */
export function checkTensors<M extends ReadonlyMap<string, Tensor>>(name: string, tensors: M): M {
  return checkMap(name, tensors, isTensor);
}

/** The same, where elements do not matter. */
export function checkStubs<M extends ReadonlyMap<string, TensorStub>>(name: string, tensors: M): M {
  return checkMap(name, tensors, isTensorStub);
}

/** A Map of names to what `accepts` accepts. @throws ERR_REPFUSE_INVALID_ARGUMENT naming what it does not */
export function checkMap<M extends ReadonlyMap<string, unknown>>(
  name: string,
  map: M,
  accepts: (item: unknown) => boolean,
): M {
  checkArgument(name, MAP, map);
  for (const [key, item] of map) {
    if (typeof key === 'string' && accepts(item)) continue;
    const expected =
      typeof key === 'string' ? `a Tensor for ${quote(key)} of ${name}` : `names for the keys of ${name}`;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected ${expected} but received ${show(typeof key === 'string' ? item : key)}`,
      { argument: name },
    );
  }
  return map;
}
