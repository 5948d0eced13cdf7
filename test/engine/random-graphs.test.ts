import { toBinary } from '@bufbuild/protobuf';
import { Engine } from '../../lib/engine';
import { ALGORITHMS } from '../../lib/engine/native-engine';
import { RepfuseError } from '../../lib/errors';
import { type Graph, inferShapes, outputsOf, parseGraph } from '../../lib/graph';
import { evaluateValues } from '../../lib/graph/evaluate';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { nodesFor } from '../../lib/graph/graph';
import { toOnnx } from '../../lib/graph/to-onnx';
import { foldGraph, type OnnxModel, parseOnnx } from '../../lib/onnx';
import { ModelSchema } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';
import { type RandomNetwork, randomNetwork } from '../support/random-graph';

/** `npm run trust` asks for 10,000. */
const COUNT = Number(process.env.REPFUSE_RANDOM_GRAPHS ?? 100);
const FIRST = Number(process.env.REPFUSE_RANDOM_FIRST ?? 0);
const BOUND = 1e-5;

type Values = ReadonlyMap<string, Tensor>;

/** What a way to run a network makes of it, or its refusal. */
async function outcome<Result>(run: () => Promise<Result>): Promise<Result | RepfuseError> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof RepfuseError) return error;
    throw error;
  }
}

const evaluated = ({ graph, tensors, input }: RandomNetwork) =>
  outcome(() => evaluateValues(graph, tensors, input, outputsOf(graph)));

/** Another way to run a network; undefined where it is none for this one. */
type Way = (network: RandomNetwork, seed: number) => Promise<Values | RepfuseError | undefined>;

const compiled: Way = ({ graph, tensors, input }, seed) =>
  outcome(async () => {
    const random = new Random(seed);
    const options = {
      algorithm: random.pick(ALGORITHMS),
      batchInvariant: random.int(0, 3) === 0,
      threads: random.int(1, 2),
    };
    await using engine = await Engine.create({ graph, tensors }, options);
    return engine.runAll(input);
  });

/** Written as ONNX, changed, read again; where ONNX has no words for a node, that must be what is said. */
function throughOnnx(change: (model: OnnxModel) => Promise<OnnxModel>): Way {
  return async ({ graph, tensors, input }, seed) => {
    if (seed % 4 !== 0 || graph.inputShape === undefined || !takesAny(graph, tensors)) return undefined;
    const written = await outcome(async () => toOnnx(graph, tensors, new Random(seed).int(14, 24)));
    if (written instanceof RepfuseError) return /ONNX cannot say/.test(written.message) ? undefined : written;
    return outcome(async () => {
      const read = fromOnnx(await change(parseOnnx(toBinary(ModelSchema, written.proto))));
      return evaluateValues(read.graph, read.tensors, input, outputsOf(read.graph));
    });
  };
}

/** A model of ONNX takes batches of any size. */
function takesAny(graph: Graph, tensors: RandomNetwork['tensors']): boolean {
  try {
    for (const count of [1, 2, 3, 5, 8]) inferShapes(graph, [count, ...graph.inputShape!], tensors);
    return true;
  } catch {
    return false;
  }
}

const WAYS: Readonly<Record<string, Way>> = {
  'the engine': compiled,
  'read from ONNX': throughOnnx(async (model) => model),
  'folded as ONNX': throughOnnx(async (model) => (await foldGraph(model)).model),
};

/** What differs, in words. Rounding may move a value as much as it moves when all that it is made of moves by half a unit in the last place. */
async function difference(network: RandomNetwork, seed: number, way: Way): Promise<string | undefined> {
  const [want, got] = [await evaluated(network), await way(network, seed)];
  if (got === undefined) return undefined;
  if (want instanceof RepfuseError || got instanceof RepfuseError)
    return want instanceof RepfuseError === got instanceof RepfuseError
      ? undefined
      : `evaluate: ${told(want)}, ${told(got)}`;
  let moved: Values | undefined;
  for (const [id, expected] of want) {
    const value = got.get(id)!;
    if (value.shape.join() !== expected.shape.join()) return `${id} is [${value.shape}] instead of [${expected.shape}]`;
    const error = errorOf(value, expected);
    if (error <= BOUND) continue;
    moved ??= (await evaluated(perturbed(network, seed))) as Values;
    const noise = errorOf(moved.get(id)!, expected);
    if (!(error <= BOUND + 16 * noise)) return `${id} differs by ${error} of its peak, by rounding ${noise}`;
  }
  return undefined;
}

/** Of the peak of what is finite; infinities and NaN (a window of nothing but padding has no mean) must be the same. */
function errorOf(got: Tensor, want: Tensor): number {
  let [worst, peak] = [0, 0];
  for (let i = 0; i < want.size; i++) {
    const [a, b] = [got.data[i] as number, want.data[i] as number];
    if (Object.is(a, b)) continue;
    const difference = Math.abs(a - b);
    worst = Math.max(worst, Number.isFinite(difference) ? difference : Number.POSITIVE_INFINITY);
  }
  for (const value of want.data as Float32Array) if (Number.isFinite(value)) peak = Math.max(peak, Math.abs(value));
  return peak > 0 ? worst / peak : worst;
}

function told(result: Values | RepfuseError): string {
  return result instanceof RepfuseError ? `${result.code} ${result.message}` : 'runs';
}

function perturbed({ graph, tensors, input }: RandomNetwork, seed: number): RandomNetwork {
  const random = new Random(~seed);
  const move = (tensor: Tensor) =>
    Tensor.f32(
      tensor.shape,
      (tensor.data as Float32Array).map((value) => value * (1 + (random.next() - 0.5) * 2 ** -22)),
    );
  return { graph, tensors: new Map([...tensors].map(([key, tensor]) => [key, move(tensor)])), input: move(input) };
}

/** The least that still differs in the same way: one output, without what it does not need. */
async function smallest(network: RandomNetwork, seed: number, way: Way, found: string): Promise<Graph> {
  const kind = /ERR.*/.exec(found)?.[0] ?? 'differs';
  for (const { id } of network.graph.nodes) {
    const nodes = nodesFor(network.graph.nodes, [id]);
    const graph = { ...network.graph, output: id, outputs: [id], nodes };
    const still = await difference({ ...network, graph }, seed, way).catch(() => undefined);
    if (still?.includes(kind)) return graph;
  }
  return network.graph;
}

const PART = 50;
const parts = Array.from({ length: Math.ceil(COUNT / PART) }, (_, part) => FIRST + part * PART);

test.each(parts)(
  `networks of seeds %i and ${PART - 1} more: evaluate, the engine and ONNX agree, or all refuse`,
  async (first) => {
    const faults: string[] = [];
    for (let seed = first; seed < first + PART; seed++) {
      const network = randomNetwork(seed);
      parseGraph(JSON.parse(JSON.stringify(network.graph)));
      for (const [name, way] of Object.entries(WAYS)) {
        const found = await difference(network, seed, way).catch((error) => String((error as Error).stack));
        if (found === undefined) continue;
        const graph = await smallest(network, seed, way, found);
        const shapes = [...network.tensors].map(([key, { shape }]) => `${key} [${shape}]`).join(', ');
        faults.push(
          `seed ${seed}, ${name}: ${found}\n${JSON.stringify(graph)}\ninput [${network.input.shape}], ${shapes}`,
        );
      }
    }
    expect(faults).toEqual([]);
  },
);
