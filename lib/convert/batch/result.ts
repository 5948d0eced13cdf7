import type { ErrorCode } from '../../errors';
import type { ConvertReport } from '../report';

/** What became of one file. */
export interface BatchResult {
  /** The input, as it was given. */
  readonly file: string;
  /** Below the folder that all files have in common. */
  readonly name: string;
  /**
   * `unchanged`: nothing was to be fused, the output is a copy. `skipped`: an earlier run has done it. `unequal`: written, but its
   * verification fails.
   */
  readonly status: 'converted' | 'unchanged' | 'skipped' | 'unequal' | 'failed';
  readonly output: string | null;
  /** SHA-256 of the input, in hexadecimal; null where it was not read to the end, or with `hash: false`. */
  readonly sha256: string | null;
  readonly milliseconds: number;
  /** Without `failed` and `skipped`. */
  readonly report?: ConvertReport;
  /** Why the file `failed`. */
  readonly error?: { readonly code: ErrorCode | 'UNEXPECTED'; readonly message: string; readonly details: object };
}

/** What became of a file, and what the report has beside that. */
export interface Outcome {
  readonly result: BatchResult;
  /** Bytes of the output; null without one. */
  readonly outputBytes: number | null;
}
