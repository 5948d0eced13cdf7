import { Engine } from '../../lib/engine';
import { Tensor } from '../../lib/tensor/tensor';
import { refusal } from '../support/refusal';
import { image, smallNet } from './small-net';

describe('stream', () => {
  test('results come in the order of the inputs, no more than asked for are fetched', async () => {
    using engine = await Engine.create(smallNet());
    let fetched = 0;
    let taken = 0;
    async function* inputs() {
      for (let i = 0; i < 12; i++) {
        fetched++;
        expect(fetched - taken).toBeLessThanOrEqual(3);
        yield image(1, 8 + (i % 3), 8, i);
      }
    }
    const results: Tensor[] = [];
    for await (const result of engine.stream(inputs(), { concurrency: 3 })) {
      results.push(result);
      taken++;
    }
    expect(results).toEqual(Array.from({ length: 12 }, (_, i) => engine.runSync(image(1, 8 + (i % 3), 8, i))));
  });

  test('leaving the loop ends the source; an array is a source too', async () => {
    using engine = await Engine.create(smallNet());
    let ended = false;
    function* inputs() {
      try {
        for (;;) yield image(1, 8, 8);
      } finally {
        ended = true;
      }
    }
    for await (const _ of engine.stream(inputs())) break;
    expect(ended).toBe(true);
    let count = 0;
    for await (const _ of engine.stream([image(1, 8, 8), image(2, 8, 8)])) count++;
    expect(count).toBe(2);
  });

  test('an error of the source, of a run, and an abort come out of the loop', async () => {
    using engine = await Engine.create(smallNet());
    const all = async (inputs: Iterable<Tensor>, signal?: AbortSignal) => {
      let results = 0;
      for await (const _ of engine.stream(inputs, { signal })) results++;
      return results;
    };
    function* failing() {
      yield image(1, 8, 8);
      throw new Error('no more');
    }
    await expect(all(failing())).rejects.toThrow('no more');
    expect(await refusal(all([image(1, 8, 8), Tensor.f32([1, 5, 8, 8])]))).toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
    await expect(all([image(1, 8, 8)], AbortSignal.abort(0))).rejects.toBe(0);
  });
});
