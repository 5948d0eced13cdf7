import { allocate } from './random-access';

/** Buffers kept for later; the smallest are dropped. */
const KEPT = 8;
/** Buffers of so many bytes get the size from which on huge pages stand behind them: one fault in place of hundreds. */
const LARGE = 1 << 19;
const HUGE = 1 << 22;

/** Memory for elements that come and go. Used again, because fresh pages cost more than what is done with them. */
export class BufferPool {
  private readonly free: ArrayBuffer[] = []; // by size

  /** @throws ERR_REPFUSE_FORMAT where the engine has no more to give */
  readonly take = (length: number): Uint8Array<ArrayBuffer> => {
    const at = this.free.findIndex((buffer) => buffer.byteLength >= length);
    const [buffer] =
      at < 0 ? [allocate(length < LARGE ? length : Math.max(length, HUGE)).buffer] : this.free.splice(at, 1);
    return new Uint8Array(buffer!, 0, length);
  };

  /** Takes a buffer back: nothing may look at it any more. */
  give(buffer: ArrayBuffer): void {
    this.free.push(buffer);
    this.free.sort((a, b) => a.byteLength - b.byteLength);
    if (this.free.length > KEPT) this.free.shift();
  }
}
