import { ERROR_CODES, RepfuseError } from '../../lib';
import { Random } from '../support/random';
import { temporaryFolder } from '../support/temporary';
import { type Call, callsOf, publicNames } from './calls';
import { spoiled } from './junk';

/** All calls take minutes: `npm run trust` makes them, a test run a seeded part. */
const ALL = process.env.REPFUSE_JUNK === 'all';
/** Of a function: those that read files or draw networks take a thousand times as long as others. */
const PART = { quick: 60, slow: 6 };
const SLOW =
  /^(convert|convertAll|verify|inspect|foldOnnx|read(Checkpoint|Model)|net\w+|measurePrecision|exportOnnx|write\w+|detectBlocks|Engine\.create)$/;
/** A call that takes longer hangs. */
const PATIENCE_MS = 20_000;

const folder = temporaryFolder();
let calls: Readonly<Record<string, Call>>;
const home = process.cwd();
beforeAll(async () => {
  calls = await callsOf(folder.path);
  process.chdir(folder.path('.')); // junk may be a path to write to
});
afterAll(() => process.chdir(home));

/** How a call ends, generators run to their ends. */
async function outcomeOf({ call }: Call, args: readonly unknown[]): Promise<unknown> {
  try {
    const result = await call(...(args as never[]));
    if (typeof result === 'object' && result !== null && Symbol.asyncIterator in result)
      for await (const _ of result as AsyncIterable<unknown>);
    return undefined;
  } catch (error) {
    return error ?? new Error('nothing was thrown, but thrown');
  }
}

/** What is wrong with how a call ended; undefined where it gave a result, or a coded error. */
function faultOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  if (!(error instanceof RepfuseError) || !(error.code in ERROR_CODES)) return `${(error as Error).stack ?? error}`;
  const { message } = error;
  if (/_Tensor|\[object |not what it should be|undefined is not|is not a function/.test(message)) return message;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(message))
    return `control characters: ${JSON.stringify(message)}`;
  return message.length > 40_000 ? `${message.length} characters` : undefined;
}

test('there is a row for whatever can be called', () => {
  expect(Object.keys(calls).sort()).toEqual(publicNames().sort());
});

describe('a call with junk ends with a result or a coded error', () => {
  test.each(publicNames())(
    '%s',
    async (name) => {
      const row = calls[name]!;
      const { args } = row;
      const valid = await outcomeOf(row, args);
      // Constructors that are not for callers refuse whatever they get.
      if (!/^new (Engine|algebra.AffineConv|ReparameterizableBlock)$/.test(name) && name !== 'readModel')
        expect(valid).toBeUndefined();
      const random = new Random(name.length);
      // What a function of the caller's throws is thrown on.
      const theirs = /^(class|Proxy of a function that throws) for (onProgress|sealWith|epsOf|moduleAt)/;
      const cases = args.flatMap((argument, i) =>
        [...spoiled(argument)]
          .filter(([how]) => !theirs.test(how))
          .map(([how, junk]) => ({ how: `argument ${i}: ${how}`, given: args.with(i, junk) })),
      );
      const shorter = args.map((_, i) => ({ how: `${i} arguments`, given: args.slice(0, i) }));
      const part = SLOW.test(name) ? PART.slow : PART.quick;
      const chosen = ALL ? cases : Array.from({ length: Math.min(part, cases.length) }, () => random.pick(cases));
      const faults: string[] = [];
      for (const { how, given } of [...shorter, ...chosen]) {
        let timer: NodeJS.Timeout | undefined;
        const patience = new Promise((resolve) => {
          timer = setTimeout(resolve, PATIENCE_MS, new Error('it hangs'));
        });
        const fault = faultOf(await Promise.race([outcomeOf(row, given), patience]));
        clearTimeout(timer);
        if (fault !== undefined) faults.push(`${how}: ${fault}`);
      }
      expect(faults.slice(0, 5)).toEqual([]);
    },
    600_000,
  );
});
