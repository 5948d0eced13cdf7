import { RepfuseError } from '../../errors';
import { eventLoopPause } from '../../native/event-loop';
import { type RandomAccess, readBytes } from '../files/random-access';
import { shorten } from '../shorten';
import { Machine, type PickleHost } from './pickle-machine';
import { OPCODES } from './pickle-opcodes';
import type { PyValue } from './python-values';

/** What is read of a pickle at a time, and the longest string that is taken into memory rather than left in the file. */
const WINDOW = 1 << 20;
const FIRST_WINDOW = 1 << 16;
export const LONGEST_STRING = 1 << 16;
/** Opcodes between two looks at the clock. */
const OPCODES_AT_ONCE = 1 << 12;

export interface UnpickleOptions {
  /** Where it begins. Default 0. */
  readonly position?: number | undefined;
  /** Bytes that it may take, long strings aside. Default: no limit but the file's end. */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A pickle in a file, read as it is run: long strings stay where they are (PyData), and others have their turn meanwhile.
 *
 * @throws as `unpickle`; of a pickle that was cut `details` has `truncated`, `needed` and `left`, in bytes, and `tensor`: the key
 *   whose value was being read. The signal's reason
 */
export async function unpickleFile(
  source: RandomAccess,
  host: PickleHost,
  { position = 0, limit = Number.POSITIVE_INFINITY, signal }: UnpickleOptions = {},
): Promise<{ readonly value: PyValue /** Where it ends. */; readonly end: number }> {
  const machine = new Machine(OPCODES, host, source.size, LONGEST_STRING, position);
  const pause = eventLoopPause(signal);
  let read = 0;
  let from = position;
  let length = FIRST_WINDOW;
  for (;;) {
    length = Math.min(length, source.size - from);
    machine.show(await readBytes(source, from, length), from);
    read += length;
    let more: ReturnType<Machine['run']>;
    do {
      try {
        more = machine.run(OPCODES_AT_ONCE);
      } catch (error) {
        throw named(error, machine);
      }
      if (machine.result !== undefined) return { value: machine.result, end: machine.position };
      await pause();
    } while (more === undefined);
    if (read > limit) {
      throw new RepfuseError('ERR_REPFUSE_PICKLE', `A pickle of more than ${limit} bytes is too large`, { limit });
    }
    from = more.position;
    length = Math.max(more.length, WINDOW);
  }
}

/** An error for want of bytes, with the key whose value was being read: of weights the tensor. */
function named(error: unknown, machine: Machine): unknown {
  const tensor = machine.keyBeingRead();
  if (!(error instanceof RepfuseError) || error.details.truncated !== true || tensor === undefined) return error;
  const { code, message, details } = error;
  return new RepfuseError(code, `${message} (in ${JSON.stringify(shorten(tensor))})`, { ...details, tensor });
}
