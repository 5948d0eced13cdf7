import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { peakError } from '../support/compare';
import { FIXTURES, readFixtureTensors } from '../support/fixtures';
import { temporaryFolder } from '../support/temporary';

/** As its README says. */
const FOLDER = join(FIXTURES, 'reported', 'attacks');
const PROGRAM = join(__dirname, 'attempt.cjs');
const DIST = resolve(__dirname, '..', '..', 'dist');

interface Case {
  readonly id: string;
  readonly file: string;
  readonly how: readonly ('both' | Way)[];
  /** Of the right value; null: the model's own size. */
  readonly input: readonly number[] | null;
  readonly expected: boolean;
  readonly must: 'either' | 'value';
  readonly bound: number;
  readonly checkpoint?: string;
}

type Way = 'engine' | 'fold' | 'graph' | 'convert' | 'rules';

/** What attempt.cjs prints. */
interface Outcome {
  readonly error?: { readonly name: string; readonly code?: string; readonly message: string };
  readonly values?: readonly (number | null)[];
  /** What the same model gives before it is folded, or in another precision. */
  readonly given?: readonly (number | null)[];
  readonly bytes?: number;
  readonly megabytes: number;
}

/** A refusal takes a second on a quiet machine; a hang is what is looked for. */
const MILLISECONDS = 20_000;
const MEGABYTES = 300;

const cases: readonly Case[] = JSON.parse(readFileSync(join(FOLDER, 'cases.json'), 'utf8'));
const attempts = cases.flatMap((each) =>
  each.how
    .flatMap((how): readonly Way[] => (how === 'both' ? ['engine', 'fold'] : [how]))
    .map((way) => [each.id, way, each] as const),
);
const { path } = temporaryFolder();

/** NaN and infinities are null in JSON. */
const numbers = (values: readonly (number | null)[]) => values.map((value) => value ?? Number.NaN);

test.each(attempts)('%s by %s: a right value or a coded error, soon and in little memory', (_, way, row) => {
  const written = ['out.onnx', 'out-again.onnx', 'out.safetensors'].map(path);
  for (const each of written) rmSync(each, { force: true });
  const file = join(FOLDER, row.file);
  const known = file.replace(/(\.graph\.json|\.onnx)$/, '.expected.safetensors');
  const tensors = row.expected ? readFixtureTensors(known) : undefined;
  const [x, y] = [tensors?.get('input'), tensors?.get('y')];
  const input = x === undefined ? null : { shape: x.shape, data: Array.from(x.data as ArrayLike<number>, Number) };
  const checkpoint = row.checkpoint && join(FOLDER, row.checkpoint);
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [PROGRAM, DIST, way, JSON.stringify({ path: file, checkpoint, input }), path('')],
    { encoding: 'utf8', timeout: MILLISECONDS },
  );
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  const outcome = JSON.parse(stdout) as Outcome;
  if (outcome.error !== undefined) {
    expect(outcome.error).toMatchObject({ name: 'RepfuseError', code: expect.stringMatching(/^ERR_REPFUSE_/) });
    expect(outcome.megabytes).toBeLessThan(MEGABYTES);
    expect(row.must).toBe('either');
    expect(written.filter(existsSync)).toEqual([]);
  }
  if (outcome.values !== undefined && outcome.given !== undefined)
    expect(peakError(numbers(outcome.values), numbers(outcome.given))).toBeLessThan(row.bound);
  if (outcome.values !== undefined && y !== undefined)
    expect(peakError(numbers(outcome.values), y.data as unknown as number[])).toBeLessThan(row.bound);
  if (outcome.bytes !== undefined) expect(outcome.bytes).toBeLessThan(1e6);
});
