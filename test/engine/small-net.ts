import type { Graph, Model } from '../../lib/graph';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';

/** Makes convolutions with seeded weights that keep the size of an image, but for their stride; their tensors gather in `tensors`. */
function convolutions(seed: number) {
  const random = new Random(seed);
  const tensors = new Map<string, Tensor>();
  const conv = (
    id: string,
    input: string,
    from: number,
    to: number,
    window: { kernel: number; stride: number; groups?: number },
  ) => {
    const { kernel, stride, groups = 1 } = window;
    const shape = [to, from / groups, kernel, kernel];
    tensors.set(`${id}.weight`, Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1))));
    tensors.set(`${id}.bias`, Tensor.f32([to], random.floats(to)));
    return {
      id,
      op: 'conv2d' as const,
      inputs: [input],
      weight: `${id}.weight`,
      bias: `${id}.bias`,
      stride: [stride, stride] as const,
      padding: [(kernel - 1) / 2, (kernel - 1) / 2] as const,
      dilation: [1, 1] as const,
      groups,
    };
  };
  return { conv, tensors };
}

/** A plain network of three convolutions, of any image size: 3 -> 24 -> 24 (and a sum) -> 20 channels, stride 2 in the end. */
export function smallNet(seed = 1): Model {
  const { conv: any, tensors } = convolutions(seed);
  const conv = (id: string, input: string, from: number, to: number, stride: number) =>
    any(id, input, from, to, { kernel: 3, stride });
  const graph: Graph = {
    input: 'x',
    output: 'c',
    nodes: [
      conv('a', 'x', 3, 24, 1),
      { id: 'ra', op: 'relu', inputs: ['a'] },
      conv('b', 'ra', 24, 24, 1),
      { id: 'sum', op: 'add', inputs: ['b', 'ra'] },
      { id: 'rs', op: 'silu', inputs: ['sum'] },
      conv('c', 'rs', 24, 20, 2),
    ],
  };
  return { graph, tensors };
}

/** Inverted residuals: 16 -> 96 -> 24 channels at stride 2, 24 -> 144 -> 24 with a sum, then one whose depthwise convolution is pooled. */
export function invertedResiduals(seed = 1): Model {
  const { conv: any, tensors } = convolutions(seed);
  const conv = (id: string, input: string, from: number, to: number, kernel = 1, stride = 1) =>
    any(id, input, from, to, { kernel, stride, groups: kernel === 1 ? 1 : from });
  const graph: Graph = {
    input: 'x',
    output: 'pool',
    nodes: [
      conv('expand1', 'x', 16, 96),
      { id: 'r1', op: 'relu', inputs: ['expand1'] },
      conv('depth1', 'r1', 96, 96, 3, 2),
      conv('project1', 'depth1', 96, 24),
      conv('expand2', 'project1', 24, 144),
      { id: 's2', op: 'silu', inputs: ['expand2'] },
      conv('depth2', 's2', 144, 144, 5),
      conv('project2', 'depth2', 144, 24),
      { id: 'sum', op: 'add', inputs: ['project2', 'project1'] },
      conv('expand3', 'sum', 24, 48),
      conv('depth3', 'expand3', 48, 48, 3),
      { id: 'pool', op: 'global_avg_pool', inputs: ['depth3'] },
    ],
  };
  return { graph, tensors };
}

export function image(batch: number, height: number, width: number, seed = 7): Tensor {
  return Tensor.f32([batch, 3, height, width], new Random(seed).floats(batch * 3 * height * width));
}

/** A network that takes long: RepVGG-A2 for any image size. */
export function slowNet(): Model {
  const { graph, tensors } = netFromSeed('repvgg_a2', { form: 'deploy', classes: 10 });
  const { inputShape: _, ...anySize } = graph;
  return { graph: anySize, tensors };
}
