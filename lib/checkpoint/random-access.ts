import { type FileHandle, open } from 'node:fs/promises';
import { RepfuseError } from '../errors';

/** Bytes that can be read anywhere: a file or memory. */
export interface RandomAccess {
  readonly size: number;
  /** Fills `into` from `offset`; the caller has checked that the bytes exist. */
  read(offset: number, into: Uint8Array): Promise<void>;
}

/** Opens a file, hands it to `body`, closes it. @throws ERR_REPFUSE_FILE naming the file */
export async function withFile<T>(file: string, body: (source: RandomAccess) => Promise<T>): Promise<T> {
  const handle = await open(file, 'r').catch((cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${(cause as Error).message}`, { file }, { cause });
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new RepfuseError('ERR_REPFUSE_FILE', `Expected a file but ${file} is none`, { file });
    return await body({ size: stat.size, read: (offset, into) => readFully(handle, file, offset, into) });
  } finally {
    await handle.close();
  }
}

/** The bytes of a typed array, wherever it lies in its buffer. */
export function memoryAccess(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
  };
}

const CHUNK = 1 << 26; // one read call takes at most 2 GiB

async function readFully(handle: FileHandle, file: string, offset: number, into: Uint8Array): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const length = Math.min(CHUNK, into.length - done);
    const { bytesRead } = await handle.read(into, done, length, offset + done);
    if (bytesRead === 0) {
      throw new RepfuseError('ERR_REPFUSE_FILE', `${file} became shorter while it was read`, {
        file,
        offset: offset + done,
      });
    }
    done += bytesRead;
  }
}
