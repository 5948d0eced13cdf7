import { type GenericSchema, type SafeParseResult, safeParse } from 'valibot';
import { RepfuseError } from '../errors';
import { inner, type Schema } from './schemas';
import { show } from './show';
import { nearestOf, suggestion } from './suggest';

/**
 * An argument that a schema accepts, with every property read once.
 *
 * @param name as the caller knows it
 * @throws ERR_REPFUSE_INVALID_ARGUMENT, `details.argument` the name
 */
export function checkArgument<T>(name: string, schema: Schema<T>, argument: unknown): T {
  const issue = issueOf(schema, argument, name);
  if ('output' in issue) return issue.output;
  const at = `${name}${formatPath(issue.path)}`;
  throw refused(`Expected ${issue.expected} for ${at} but received ${show(issue.received)}`, { argument: name });
}

/**
 * The options of a call, none where they are undefined.
 *
 * @param owner what takes them
 * @throws ERR_REPFUSE_INVALID_ARGUMENT, `details.option` the option
 */
export function checkOptions<T extends object>(owner: string, schema: Schema<T>, options: unknown): T {
  const issue = issueOf(schema, options === undefined ? {} : options, `the options of ${owner}`);
  if ('output' in issue) return issue.output;
  const { expected, received, path, known } = issue;
  if (path.length === 0)
    throw refused(`Expected ${expected} for the options of ${owner} but received ${show(received)}`, {});
  const option = String(path[0]);
  if (known !== undefined && path.length === 1) {
    const nearest = nearestOf(option, known);
    throw refused(
      `Expected an option of ${owner} but received ${isPlainName(option) ? option : show(option)}${nearest === undefined ? ` (there are ${known.join(', ')})` : suggestion(option, known)}`,
      { option, ...(nearest === undefined ? {} : { nearest }) },
    );
  }
  const name = isPlainName(option) ? option : show(option);
  throw refused(`Expected ${expected} for ${name}${formatPath(path.slice(1))} but received ${show(received)}`, {
    option,
  });
}

/** The options of a call that cannot do without. @throws as `checkOptions` */
export function checkRequiredOptions<T extends object>(owner: string, schema: Schema<T>, options: unknown): T {
  if (options !== undefined) return checkOptions(owner, schema, options);
  throw refused(`Expected an object for the options of ${owner} but received undefined`, {});
}

/**
 * @param given options that mean nothing for a file, by their names
 * @param what it is, such as `x.onnx, an ONNX model`
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for the first that is there
 */
export function expectNone(given: Readonly<Record<string, unknown>>, what: string, file: string): void {
  const [option] = Object.keys(given).filter((name) => given[name] !== undefined);
  if (option !== undefined) throw refused(`Expected no \`${option}\` for ${what}`, { file, option });
}

interface Issue {
  readonly expected: string;
  readonly received: unknown;
  /** Keys from the value to what is wrong in it. */
  readonly path: readonly unknown[];
  /** Of a name that does not exist: those that do. */
  readonly known?: readonly string[];
}

function issueOf<T>(schema: Schema<T>, argument: unknown, name: string): Issue | { readonly output: T } {
  let result: SafeParseResult<GenericSchema>;
  try {
    result = safeParse(inner(schema), argument, { abortEarly: true });
  } catch (cause) {
    // A getter of the caller's, or a Proxy.
    throw refused(`Expected properties that can be read for ${name} but reading one failed`, {}, cause);
  }
  if (result.success) return { output: result.output as T };
  const [{ message, input, path = [], expected }] = result.issues;
  const keys = path.map(({ key }) => key);
  if (expected !== 'never') return { expected: message, received: input, path: keys };
  return { expected: 'no such name', received: keys.at(-1), path: keys, known: message.split(' ') };
}

/** `.index`, `[0]`, `["stage1.0"]`. */
function formatPath(path: readonly unknown[]): string {
  const parts = path.map((key) => {
    if (typeof key === 'string') return isPlainName(key) ? `.${key}` : `[${show(key)}]`;
    return `[${String(key)}]`;
  });
  return parts.join('');
}

function isPlainName(key: string): boolean {
  return /^[A-Za-z_]\w{0,40}$/.test(key);
}

function refused(message: string, details: Record<string, unknown>, cause?: unknown): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', message, details, cause === undefined ? {} : { cause });
}
