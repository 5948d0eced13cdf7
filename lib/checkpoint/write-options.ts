import { BOOLEAN, FUNCTION, optional, SIGNAL } from '../arguments/schemas';
import type { NewFileOptions } from './files/new-file';

export interface WriteOptions extends NewFileOptions {
  readonly onProgress?: ((progress: { phase: 'write'; done: number; total: number }) => void) | undefined;
}

/** Schemas of `WriteOptions`. */
export const WRITE_OPTIONS = {
  force: optional(BOOLEAN),
  durable: optional(BOOLEAN),
  signal: optional(SIGNAL),
  onProgress: optional(FUNCTION),
} as const;
