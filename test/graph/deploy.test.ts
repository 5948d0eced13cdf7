import { detectBlocks } from '../../lib/families';
import { deployGraph, type Graph, parseGraph } from '../../lib/graph';
import { cpuTimeOf } from '../support/cpu-time';
import { fixturePath, readManifest } from '../support/fixtures';
import { fixtureStateDict } from '../support/tensors';
import { type Json, refusalOf } from './tiny-graph';

const { train_graph: trainGraph, files } = readManifest('blocks', 'repvgg-identity');
const tensors = fixtureStateDict(fixturePath('blocks', files.train_safetensors));
const blocks = detectBlocks(tensors);

/** The RepVGG block's graph (3x3, 1x1 and identity BatchNorm, relu) with one change. */
function changed(change: (graph: Json) => void): Graph {
  const graph = structuredClone(trainGraph);
  change(graph);
  return parseGraph(graph);
}

const byPrefix = (graph: Json, prefix: string) => graph.nodes.find((node: Json) => node.prefix === prefix);
const byWeight = (graph: Json, weight: string) => graph.nodes.find((node: Json) => node.weight === weight);
const sumOf = (graph: Json) => graph.nodes.filter((node: Json) => node.op === 'add').at(-1);

function expectRefusal(graph: Graph, ...parts: string[]): void {
  const { code, message, details } = refusalOf(() => deployGraph(graph, blocks));
  expect({ code, message, details }).toMatchObject({ code: 'ERR_REPFUSE_GRAPH', details: { block: '' } });
  expect(message).toContain('Block (root): ');
  for (const part of parts) expect(message).toContain(part);
}

test('the fused convolution takes the place, id and geometry of what it replaces', () => {
  const graph = parseGraph({ ...trainGraph, labels: ['a'], inputShape: [8, 6, 7] });
  const { id } = sumOf(trainGraph);
  const deployed = deployGraph(graph, blocks);
  expect(deployed).toEqual({
    ...graph,
    nodes: [
      {
        id,
        op: 'conv2d',
        inputs: [graph.input],
        weight: 'rbr_reparam.weight',
        bias: 'rbr_reparam.bias',
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
      },
      graph.nodes.at(-1),
    ],
  });
  expect(graph).toEqual(parseGraph({ ...trainGraph, labels: ['a'], inputShape: [8, 6, 7] }));
});

test('a deploy graph, and a block that the graph does not hold, stay as they are', () => {
  const deployed = deployGraph(parseGraph(trainGraph), blocks);
  expect(deployGraph(deployed, blocks)).toEqual(deployed);
  const elsewhere = blocks.map((block) => ({ ...block, trainKeys: block.trainKeys.map((key) => `aux.${key}`) }));
  expect(deployGraph(parseGraph(trainGraph), elsewhere)).toEqual(parseGraph(trainGraph));
});

test('another eps than the fused one is refused', () => {
  const graph = changed((json) => {
    byPrefix(json, 'rbr_1x1.bn').eps = 1e-3;
  });
  expectRefusal(graph, 'conv2d, batch_norm eps 0.001', 'eps 0.00001');
});

test('BatchNorm without the weights that were fused is refused', () => {
  const graph = changed((json) => {
    byPrefix(json, 'rbr_identity').affine = false;
  });
  expectRefusal(graph, 'without affine');
});

test('a branch that is missing is refused', () => {
  const graph = changed((json) => {
    const identity = byPrefix(json, 'rbr_identity');
    const last = sumOf(json);
    const other = last.inputs.find((id: string) => id !== identity.id);
    json.nodes = json.nodes.filter((node: Json) => node !== identity && node !== last);
    json.nodes.at(-1).inputs = [other];
  });
  expectRefusal(graph, 'the graph sums');
});

test('a branch that is summed twice is refused', () => {
  const graph = changed((json) => {
    const last = sumOf(json);
    json.nodes.splice(json.nodes.indexOf(last) + 1, 0, { id: 'double', op: 'add', inputs: [last.id, last.id] });
    json.nodes.at(-1).inputs = ['double'];
  });
  expectRefusal(graph, 'the graph sums');
});

test('sums of sums of sums cost no more than one', async () => {
  const graph = changed((json) => {
    const doubled = Array.from({ length: 5000 }, (_, i) => {
      const before = i === 0 ? sumOf(json).id : `double${i - 1}`;
      return { id: `double${i}`, op: 'add', inputs: [before, before] };
    });
    json.nodes.splice(-1, 0, ...doubled);
    json.nodes.at(-1).inputs = ['double4999'];
  });
  expect(await cpuTimeOf(() => expectRefusal(graph, 'the graph sums'))).toBeLessThan(2000);
});

test('something between the branches and their sum is refused', () => {
  const graph = changed((json) => {
    const bn = byPrefix(json, 'rbr_1x1.bn');
    json.nodes.splice(json.nodes.indexOf(bn) + 1, 0, { id: 'between', op: 'relu', inputs: [bn.id] });
    for (const node of json.nodes.filter(({ op }: Json) => op === 'add')) {
      node.inputs = node.inputs.map((id: string) => (id === bn.id ? 'between' : id));
    }
  });
  expectRefusal(graph, 'one input and one output');
});

test('a branch that is read elsewhere too is refused', () => {
  const graph = changed((json) => {
    const { id } = byPrefix(json, 'rbr_dense.bn');
    json.nodes.push({ id: 'extra', op: 'add', inputs: [json.output, id] });
    json.output = 'extra';
  });
  expectRefusal(graph, 'one input and one output');
});

test('a branch of another input is refused', () => {
  const graph = changed((json) => {
    json.nodes.unshift({ id: 'first', op: 'relu', inputs: [json.input] });
    byWeight(json, 'rbr_1x1.conv.weight').inputs = ['first'];
  });
  expectRefusal(graph, 'one input and one output');
});

test('a graph without the main convolution is refused', () => {
  const graph = changed((json) => {
    const main = byWeight(json, 'rbr_dense.conv.weight');
    json.nodes = json.nodes.filter((node: Json) => node !== main);
    byPrefix(json, 'rbr_dense.bn').inputs = [json.input];
  });
  expectRefusal(graph, 'rbr_dense.conv.weight');
});
