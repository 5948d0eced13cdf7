// Runs one runtime in a process of its own and answers requests, one JSON a line, so that runtimes can be timed in turn.
//   {"op":"load","file":..,"batch":..,"threads":..,"precision":..} -> {"milliseconds":..,"memory":..}
//   {"op":"time","warm":k,"runs":n,"blocking":b} -> {"milliseconds":[..]}      {"op":"output"} -> {"values":[..]}
const { createInterface } = require('node:readline');
const { residentMemory } = require('./resident-memory.cjs');

const SIZE = 224;

/** Numbers in [-1, 1) that every runtime gets. */
function images(batch) {
  const data = new Float32Array(batch * 3 * SIZE * SIZE);
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    data[i] = state / 2 ** 31 - 1;
  }
  return data;
}

/**
 * `open(file, {threads, precision, images, shape})` gives what runs once and returns the logits: a function, or one that blocks the event loop and one that
 * does not.
 */
function serve(open) {
  let run;
  let runBlocking;
  const answers = {
    async load({ file, batch, threads, precision }) {
      run = runBlocking = undefined;
      const before = await residentMemory();
      const started = performance.now();
      const opened = await open(file, { threads, precision, images: images(batch), shape: [batch, 3, SIZE, SIZE] });
      ({ run, runBlocking } = typeof opened === 'function' ? { run: opened, runBlocking: opened } : opened);
      const milliseconds = performance.now() - started;
      await run();
      return { milliseconds, memory: (await residentMemory()) - before };
    },
    async time({ warm, runs, blocking = false }) {
      const once = blocking ? runBlocking : run;
      for (let i = 0; i < warm; i++) await once();
      const milliseconds = [];
      for (let i = 0; i < runs; i++) {
        const started = performance.now();
        await once();
        milliseconds.push(performance.now() - started);
      }
      return { milliseconds };
    },
    async output() {
      return { values: [...(await run())] };
    },
  };
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const { op, ...request } = JSON.parse(line);
    const answer = await answers[op](request).catch((error) => ({ error: String(error.stack ?? error) }));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
}

module.exports = { serve };
