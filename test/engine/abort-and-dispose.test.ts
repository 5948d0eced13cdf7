import { Engine } from '../../lib/engine';
import { loadAddon } from '../../lib/native/load';
import { Tensor } from '../../lib/tensor/tensor';
import { refusal } from '../support/refusal';
import { image, slowNet, smallNet } from './small-net';

describe('abort and dispose', () => {
  test('an abort ends a run within a layer, those that wait as well, and the engine goes on', async () => {
    using engine = await Engine.create(slowNet(), { threads: 1 });
    const input = image(4, 160, 160);
    await engine.run(input);
    using other = await Engine.create(slowNet(), { threads: 1 });
    const controller = new AbortController();
    const runs = Array.from({ length: 6 }, () => engine.run(input, { signal: controller.signal }));
    while (loadAddon().info().pendingJobs === 0) await new Promise(setImmediate);
    controller.abort('enough');
    // To their ends they would take six times as long as one run of another engine, which begins now.
    const order: string[] = [];
    const rejected = Promise.all(runs.map((run) => expect(run).rejects.toBe('enough'))).then(() =>
      order.push('aborted'),
    );
    const whole = other.run(input).then(() => order.push('whole run'));
    await Promise.all([rejected, whole]);
    expect(order).toEqual(['aborted', 'whole run']);
    expect(await engine.run(image(1, 32, 32))).toBeInstanceOf(Tensor);
    await expect(engine.run(input, { signal: controller.signal })).rejects.toBe('enough');
    await expect(Engine.create(smallNet(), { signal: controller.signal })).rejects.toBe('enough');
  });

  test('runs under way end as they would have; later ones are refused', async () => {
    const engine = await Engine.create(smallNet(), { threads: 1 });
    const input = image(1, 40, 40);
    const want = engine.runSync(input);
    const runs = Array.from({ length: 5 }, () => engine.run(input));
    engine.dispose();
    engine.dispose();
    for (const run of runs) expect(await run).toEqual(want);
    const disposed = { code: 'ERR_REPFUSE_DISPOSED' };
    expect(await refusal(engine.run(input))).toMatchObject(disposed);
    for (const use of [() => engine.runSync(input), () => engine.memory, () => engine.explain([1, 3, 8, 8])])
      expect(use).toThrow(expect.objectContaining(disposed));
  });
});
