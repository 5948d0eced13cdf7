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

/** Not right yet. */
const PENDING = new Set<string>();
  }
  if (outcome.values !== undefined && outcome.given !== undefined)
    expect(peakError(numbers(outcome.values), numbers(outcome.given))).toBeLessThan(row.bound);
  if (outcome.values !== undefined && y !== undefined)
    expect(peakError(numbers(outcome.values), y.data as unknown as number[])).toBeLessThan(row.bound);
  if (outcome.bytes !== undefined) expect(outcome.bytes).toBeLessThan(1e6);
});
