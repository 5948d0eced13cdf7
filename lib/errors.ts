import { printableLines } from './printable';

/**
 * Every error that repfuse throws on purpose, by code. The table is the documentation: a test checks that each code
 * is thrown somewhere and that nothing throws a code that is not listed here.
 */
export const ERROR_CODES = {
  ERR_REPFUSE_NO_NATIVE:
    'The native addon could not be loaded; every path tried and the command that helps are listed.',
  ERR_REPFUSE_NATIVE: 'The native core reported a failure (out of memory, a CPU level that this machine lacks).',
  ERR_REPFUSE_MEMORY: 'More memory would be needed than the limit allows; what would need it is named.',
  ERR_REPFUSE_INVALID_ARGUMENT: 'An argument or option has the wrong type, value or shape.',
  ERR_REPFUSE_SHAPE: 'Tensor shapes do not fit together.',
  ERR_REPFUSE_ABORTED:
    'The command was interrupted. (In the library an aborted call rejects with the reason of its AbortSignal.)',
  ERR_REPFUSE_INEXACT:
    'The requested rewrite is not an identity, so it is refused (allowInexactBorder lifts it where that makes sense).',
  ERR_REPFUSE_NOT_FUSABLE:
    'A branch is not an affine convolution that can be fused (missing statistics, var + eps <= 0, ...).',
  ERR_REPFUSE_NOT_FINITE: 'A tensor to be fused holds NaN or infinity, or the fused value would overflow.',
  ERR_REPFUSE_RANGE: 'A value is beyond the range of the type that it was to be stored in.',
  ERR_REPFUSE_FILE: 'A file could not be read or written.',
  ERR_REPFUSE_EXISTS: 'The output file exists and overwriting was not asked for.',
  ERR_REPFUSE_FORMAT: 'A file is damaged or is not of a supported format.',
  ERR_REPFUSE_UNSUPPORTED_FORMAT: 'A file is of a recognised but unsupported format.',
  ERR_REPFUSE_PICKLE: 'A pickle asks for something that the allow-listed machine does not do, or is malformed.',
  ERR_REPFUSE_AMBIGUOUS: 'More than one reading is possible; the option that settles it is named.',
  ERR_REPFUSE_NO_BLOCKS: 'The checkpoint holds no re-parameterizable block.',
  ERR_REPFUSE_BLOCK: 'A block of the checkpoint is partial, ambiguous or unsupported.',
  ERR_REPFUSE_KEY: 'A state dict lacks a key, or has one that is not expected.',
  ERR_REPFUSE_RULE: 'A family rule (`rules`) is malformed; the field is named.',
  ERR_REPFUSE_DISPOSED: 'An engine is used after dispose().',
  ERR_REPFUSE_GRAPH: 'A graph is malformed or does not fit its weights.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * The one error class. `details` holds the machine-readable facts (file, tensor, byte offset, field, expected, received).
 * Messages follow "Expected X for Y but received Z", and hold nothing that a terminal would act on, whatever names a file has.
 */
export class RepfuseError extends Error {
  override readonly name = 'RepfuseError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, options?: { cause?: unknown }) {
    super(typeof message === 'string' ? printableLines(message) : '', causeOf(options));
    this.code = code;
    this.details = details;
  }
}

/** What the constructor of Error takes of its options; looking at them may throw, and an error must not. */
function causeOf(options: { cause?: unknown } | undefined): ErrorOptions {
  try {
    return options !== undefined && 'cause' in options ? { cause: options.cause } : {};
  } catch {
    return {};
  }
}
