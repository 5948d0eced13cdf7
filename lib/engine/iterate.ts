import { checkArgument } from '../arguments/check';
import { type Schema, value } from '../arguments/schemas';
import type { InputTensors } from '../graph';

/** What a caller gives to be gone through. @throws ERR_REPFUSE_INVALID_ARGUMENT for what gives nothing one by one */
export function iterate<T>(source: Iterable<T> | AsyncIterable<T>): AsyncIterator<T> | Iterator<T> {
  const start = checkArgument('inputs', ITERABLE, source);
  const method = start[Symbol.asyncIterator] ?? start[Symbol.iterator];
  return checkArgument('the iterator of inputs', ITERATOR, method.call(start)) as Iterator<T>;
}

function isFunction(given: unknown): boolean {
  return typeof given === 'function';
}

const ITERABLE: Schema<Iterable<never> & AsyncIterable<never>> = value('an iterable of Tensors', (given) => {
  if (typeof given !== 'object' || given === null) return false;
  const { [Symbol.asyncIterator]: async, [Symbol.iterator]: sync } = given as Record<symbol, unknown>;
  return isFunction(async ?? sync);
});
const ITERATOR: Schema<Iterator<unknown>> = value('an object with a method next', (given) =>
  isFunction(Object(given).next),
);
export const ITERATED: Schema<IteratorResult<InputTensors>> = value(
  'an object with done and value',
  (given) => Object(given) === given,
);
