import { ProgressDisplay } from '../../lib/cli/progress';
import type { BatchProgress } from '../../lib/convert';

/** What a display writes for some steps of a conversion. */
function draw(screen: { isTTY?: boolean; columns?: number }): string {
  let text = '';
  const display = new ProgressDisplay({
    ...screen,
    write: (chunk: string) => {
      text += chunk;
    },
  });
  display.update({ phase: 'read', done: 0, total: 100 });
  display.update({ phase: 'read', done: 50, total: 100 });
  display.update({ phase: 'read', done: 50, total: 100 });
  display.update({ phase: 'fuse', done: 1, total: 4, block: 'backbone.stage1.0' });
  display.update({ phase: 'write', done: 0, total: 0 });
  display.end();
  return text;
}

const TERM = process.env.TERM;
beforeEach(() => {
  process.env.TERM = 'xterm';
});
afterAll(() => {
  if (TERM === undefined) delete process.env.TERM;
  else process.env.TERM = TERM;
});

test('one line a phase where nothing can be redrawn', () => {
  expect(draw({})).toBe('reading ...\nfusing ...\nwriting ...\n');
  process.env.TERM = 'dumb';
  expect(draw({ isTTY: true })).toBe('reading ...\nfusing ...\nwriting ...\n');
});

test('a bar on a terminal, redrawn in place and cleared in the end', () => {
  const frames = draw({ isTTY: true, columns: 80 }).split('\r\x1b[K');
  expect(frames).toEqual([
    '',
    'reading   [........................]   0%',
    'reading   [############............]  50%',
    'fusing    [######..................]  25% backbone.stage1.0',
    'writing   [########################] 100%',
    '',
  ]);
});

test('a bar never wraps', () => {
  const frames = draw({ isTTY: true, columns: 50 }).split('\r\x1b[K');
  expect(frames[3]).toBe('fusing    [######..................]  25% backbon');
  // A terminal that does not know its width says 0.
  expect(draw({ isTTY: true, columns: 0 })).toContain('backbone.stage1.0');
});

describe('a batch', () => {
  const step = (done: number, secondsLeft: number | null): BatchProgress => ({
    phase: 'batch',
    done,
    total: 1000,
    failed: done > 10 ? 1 : 0,
    doneBytes: done * 1e6,
    totalBytes: 1e9,
    filesPerSecond: 30,
    bytesPerSecond: done * 1e5,
    secondsLeft,
  });
  const steps = [step(0, null), step(10, 31.2), step(500, 3700), step(1000, 0)];
  const texts = ['0/1000', '10/1000, 1.00 MB/s, 0:32 left', '500/1000, 1 failed, 50.0 MB/s, 1:01:40 left'];

  test('a bar with rate and time left on a terminal', () => {
    let text = '';
    const display = new ProgressDisplay({ isTTY: true, columns: 100, write: (chunk) => (text += chunk) });
    for (const each of steps) display.updateBatch(each);
    display.end();
    const frames = text.split('\r\x1b[K');
    expect(frames.slice(1, 4)).toEqual([
      `files     [........................]   0% ${texts[0]}`,
      `files     [........................]   1% ${texts[1]}`,
      `files     [############............]  50% ${texts[2]}`,
    ]);
  });

  test('a line every ten seconds elsewhere', () => {
    let text = '';
    const clock = jest.spyOn(Date, 'now').mockReturnValue(0);
    const display = new ProgressDisplay({ write: (chunk) => (text += chunk) });
    for (const [i, each] of steps.entries()) {
      clock.mockReturnValue(6000 * i);
      display.updateBatch(each);
    }
    clock.mockRestore();
    expect(text).toBe(`${texts[2]}\n`);
  });
});
