import { Engine } from '../../lib/engine';
import { ALGORITHMS } from '../../lib/engine/native-engine';
import { RepfuseError } from '../../lib/errors';
import { type Graph, outputsOf, parseGraph } from '../../lib/graph';
import { evaluateValues } from '../../lib/graph/evaluate';
import { nodesFor } from '../../lib/graph/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';
import { type RandomNetwork, randomNetwork } from '../support/random-graph';

/** `npm run trust` asks for 10,000. */
const COUNT = Number(process.env.REPFUSE_RANDOM_GRAPHS ?? 100);
const FIRST = Number(process.env.REPFUSE_RANDOM_FIRST ?? 0);
const BOUND = 1e-5;

type Values = ReadonlyMap<string, Tensor>;

/** What a way to run a network makes of it, or its refusal. */
async function outcome(run: () => Promise<Values>): Promise<Values | RepfuseError> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof RepfuseError) return error;
    throw error;
  }
}

const evaluated = ({ graph, tensors, input }: RandomNetwork) =>
  outcome(() => evaluateValues(graph, tensors, input, outputsOf(graph)));

const compiled = ({ graph, tensors, input }: RandomNetwork, seed: number) =>
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

/** What differs, in words. Rounding may move a value as much as it moves when all that it is made of moves by half a unit in the last place. */
async function difference(network: RandomNetwork, seed: number): Promise<string | undefined> {
  const [want, got] = [await evaluated(network), await compiled(network, seed)];
  if (want instanceof RepfuseError || got instanceof RepfuseError)
    return want instanceof RepfuseError === got instanceof RepfuseError
      ? undefined
      : `evaluate: ${told(want)}, the engine: ${told(got)}`;
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

/** The least that still differs: one output, without what it does not need. */
async function smallest(network: RandomNetwork, seed: number, kind: string): Promise<Graph> {
  for (const { id } of network.graph.nodes) {
    for (const outputs of [[id], outputsOf(network.graph)]) {
      const graph = { ...network.graph, output: outputs[0]!, outputs, nodes: nodesFor(network.graph.nodes, outputs) };
      if (outputs[0] === id && (await difference({ ...network, graph }, seed))?.includes(kind)) return graph;
    }
  }
  return network.graph;
}

const PART = 50;
const parts = Array.from({ length: Math.ceil(COUNT / PART) }, (_, part) => FIRST + part * PART);

test.each(parts)(
  `networks of seeds %i and ${PART - 1} more: the engine and evaluate agree, or both refuse`,
  async (first) => {
    const faults: string[] = [];
    for (let seed = first; seed < first + PART; seed++) {
      const network = randomNetwork(seed);
      parseGraph(JSON.parse(JSON.stringify(network.graph)));
      const found = await difference(network, seed).catch((error) => String((error as Error).stack));
      if (found === undefined) continue;
      const kind = /ERR.*/.exec(found)?.[0] ?? 'differs';
      const graph = await smallest(network, seed, kind).catch(() => network.graph);
      const shapes = [...network.tensors].map(([key, { shape }]) => `${key} [${shape}]`).join(', ');
      faults.push(`seed ${seed}: ${found}\n${JSON.stringify(graph)}\ninput [${network.input.shape}], ${shapes}`);
    }
    expect(faults).toEqual([]);
  },
);
