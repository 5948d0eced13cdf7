import { Machine, type PickleHost } from './pickle-machine';
import { OPCODES } from './pickle-opcodes';
import type { PyValue } from './python-values';

/**
 * A pickle machine for untrusted data (protocols 0 to 5). It builds plain values and never imports or calls anything: known
 * constructors go to the host, unknown ones become inert objects that carry their name.
 *
 * @param bytes the pickle; bytes after STOP are ignored
 * @throws ERR_REPFUSE_PICKLE with the byte offset, also when the pickle calls a function that acts (os.system, eval, ...)
 */
export function unpickle(bytes: Uint8Array, host: PickleHost): PyValue {
  const machine = new Machine(OPCODES, host, bytes.length);
  machine.show(bytes, 0);
  machine.run(Number.POSITIVE_INFINITY);
  return machine.result!;
}
