/**
 * How many bytes a file may become in memory. Weights hardly shrink, so a file that grows more than this is an attack (a zip
 * bomb, a scalar expanded to a huge shape) and not a checkpoint.
 */
export function expansionLimit(fileBytes: number): number {
  return 64 * fileBytes + (1 << 26);
}

/** Takes bytes from that; false when it is used up. */
export function spendingLimit(fileBytes: number): (bytes: number) => boolean {
  let left = expansionLimit(fileBytes);
  return (bytes) => {
    left -= bytes;
    return left >= 0;
  };
}
