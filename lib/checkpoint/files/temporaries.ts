import { promises } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { crypto } from '../../native/slow-modules';

const TEMPORARY = /^\.(.+)\.([0-9a-f]{4})-([0-9a-z]{1,8})-[0-9a-f]{8}\.tmp$/s;
/** Those that this thread is writing. */
export const underway = new Set<string>();
/** Threads of this process that write files too: whose files it writes this one cannot know. */
export const otherWriters = { count: 0 };

let host: string | undefined;

/** Of this machine: the process numbers of another say nothing here. */
function hostTag(): string {
  host ??= crypto().createHash('sha256').update(hostname()).digest('hex').slice(0, 4);
  return host;
}

/** A new name beside a file, which says whose it is: machine and process. */
export function temporaryOf(file: string): string {
  const writer = `${hostTag()}-${process.pid.toString(36)}-${crypto().randomBytes(4).toString('hex')}`;
  return join(dirname(file), `.${basename(file)}.${writer}.tmp`);
}

/**
 * Removes the temporary files of these files that a process of this machine left, which runs no more: one that was killed cannot do
 * it itself. What cannot be removed stays.
 */
export async function removeLeftovers(files: readonly string[]): Promise<void> {
  const ours = hostTag();
  const folders = new Map<string, Set<string>>();
  for (const file of files) {
    const names = folders.get(dirname(file)) ?? new Set();
    folders.set(dirname(file), names.add(basename(file)));
  }
  for (const [folder, names] of folders) {
    for (const entry of await promises.readdir(folder).catch(() => [])) {
      const [, name, writerHost, pid] = TEMPORARY.exec(entry) ?? [];
      if (name === undefined || !names.has(name) || writerHost !== ours) continue;
      const path = join(folder, entry);
      const writer = Number.parseInt(pid!, 36);
      // A process may have the number of one that was killed: in containers they often do.
      const isOurs = () => otherWriters.count > 0 || underway.has(path);
      if (writer === process.pid ? isOurs() : isRunning(writer)) continue;
      await promises.unlink(path).catch(() => {});
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // it runs, and is somebody else's
  }
}
