import { ProgressDisplay } from '../../lib/cli/progress';

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
