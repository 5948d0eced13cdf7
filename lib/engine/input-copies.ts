import { adviseHugePages } from '../native/huge-pages';

/** Buffers that are kept to be used again. */
const MAX_KEPT = 4;

/** Copies of inputs, in memory that is used again: fresh pages can take as long as a small network. */
export class InputCopies {
  private readonly free: Float32Array[] = [];

  acquire(data: Float32Array): Float32Array {
    const at = this.free.findIndex(({ length }) => length === data.length);
    const copy = at < 0 ? allocate(data.length) : this.free.splice(at, 1)[0]!;
    copy.set(data);
    return copy;
  }

  release(copy: Float32Array): void {
    this.free.push(copy);
    if (this.free.length > MAX_KEPT) this.free.shift();
  }
}

/** On huge pages where it is large: the event loop would otherwise wait for thousands of page faults. */
function allocate(length: number): Float32Array {
  const copy = new Float32Array(length);
  adviseHugePages(new Uint8Array(copy.buffer));
  return copy;
}
