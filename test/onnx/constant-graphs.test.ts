import { toBinary } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { RepfuseError } from '../../lib/errors';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { foldGraph, parseOnnx } from '../../lib/onnx';
import { ModelSchema } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';
import { constantGraph } from './constant-graphs';

/** Ten thousand in `npm run trust`. */
const GRAPHS = Number(process.env.REPFUSE_CONSTANT_GRAPHS ?? 300);
const image = Tensor.f32([1, 3, 4, 4], new Random(1).floats(48));

function expectCoded(error: unknown): void {
  if (!(error instanceof RepfuseError)) throw error;
}

/** What the engine makes of a file; undefined where it is refused. */
async function runOf(bytes: Uint8Array): Promise<Float32Array | undefined> {
  try {
    const { graph, tensors } = fromOnnx(parseOnnx(bytes));
    using engine = await Engine.create({ graph, tensors });
    return engine.runSync(image).data as Float32Array;
  } catch (error) {
    expectCoded(error);
    return undefined;
  }
}

test('graphs of constants, rightly computed or not: a coded error, or a fold that can be read and computes the same', async () => {
  let [read, folds, runs] = [0, 0, 0];
  for (let seed = 0; seed < GRAPHS; seed++) {
    const graph = constantGraph(new Random(seed));
    const given = toBinary(ModelSchema, graph.proto);
    try {
      await foldGraph(graph).catch(expectCoded); // also what is refused as a file
      const { model, report } = await foldGraph(parseOnnx(given));
      read++;
      if (report.folded.length === 0) continue;
      folds++;
      const folded = toBinary(ModelSchema, model.proto);
      parseOnnx(folded);
      const [want, got] = [await runOf(given), await runOf(folded)];
      if (want === undefined) continue;
      runs++;
      const same =
        got !== undefined && (want.every(Number.isFinite) ? peakError(got, want) < 1e-5 : got.length === want.length);
      if (!same) throw new Error(`the folded model gives ${got}, the given one ${want}`);
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  // Most are no models at all; enough are.
  expect(read).toBeGreaterThan(GRAPHS / 20);
  expect(folds).toBeGreaterThan(GRAPHS / 20);
  expect(runs).toBeGreaterThan(GRAPHS / 50);
}, 600_000);
